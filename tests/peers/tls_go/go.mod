module portway/tests/tlspeer

go 1.20
