// Command tlspeer dials an address as a TLS client of Go's standard library; whether the handshake succeeds is nobody's concern.
package main

import (
	"crypto/tls"
	"flag"
	"net"
	"strings"
	"time"
)

func main() {
	address := flag.String("connect", "", "host:port")
	name := flag.String("name", "", "server name")
	alpn := flag.String("alpn", "", "protocols, with commas between")
	newest := flag.Int("newest", 0, "newest version, such as 0x0303")
	flag.Parse()

	config := &tls.Config{ServerName: *name, InsecureSkipVerify: true, MaxVersion: uint16(*newest)}
	if *alpn != "" {
		config.NextProtos = strings.Split(*alpn, ",")
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	if conn, err := tls.DialWithDialer(dialer, "tcp", *address, config); err == nil {
		conn.Close()
	}
}
