module portway.example/echo

go 1.21
