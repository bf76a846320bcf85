module tunnels

go 1.21
