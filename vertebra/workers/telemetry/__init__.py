"""What collectors are told: spans made of committed records, and the figures of one worker."""
