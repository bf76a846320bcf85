"""`python -m portway.forward.http_tunnel`: the command line of http-tunnel, on `portway proxy`."""

from portway.cli.http_tunnel import main

if __name__ == "__main__":
    main()
