// Starts a run of a published graph and prints its output: start ADDRESS NAMESPACE GRAPH RUN INPUT
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"os"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
)

func main() {
	logger := sdklog.NewStructuredLogger(slog.Default()) // to standard error: the output alone is on standard output
	c, err := client.Dial(client.Options{HostPort: os.Args[1], Namespace: os.Args[2], Logger: logger})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	options := client.StartWorkflowOptions{ID: os.Args[4], TaskQueue: "vertebra", WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE}
	run, err := c.ExecuteWorkflow(context.Background(), options, os.Args[3], json.RawMessage(os.Args[5]))
	var output json.RawMessage
	if err == nil {
		err = run.Get(context.Background(), &output)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(output))
}
