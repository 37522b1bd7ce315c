"`python -m distill_nb` is the command `distill_nb`, also under torchrun and accelerate launch. Written by hand."
import sys

if __name__ == "__main__":
    from distill_nb.shell.cli import main
    sys.exit(main())
