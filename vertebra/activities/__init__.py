"""One file per kind of effect, each with prepare() and perform(), and one per recorded step of the shell."""
