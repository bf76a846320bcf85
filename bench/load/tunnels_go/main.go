// Visitors of a forward proxy that make small requests through tunnels, as fast as they can, and print a JSON object:
// done (complete responses), failed, first_error, elapsed_s.
//
//	tunnels -port 1080 -proxy socks5|connect|none -target 127.0.0.1:80 [-new] [-connections 64] [-seconds 3]
//
// With -new every request has a tunnel of its own: connect, negotiate, one request, close. Otherwise the tunnels are opened before the
// measurement. One thread, as wrk has: the rest of a shared machine is for the proxy and the origin.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	deadline  = 10 * time.Second
	headBytes = 4096
)

var headEnd, lengthName = []byte("\r\n\r\n"), []byte("\r\nContent-Length: ")

type visitor struct {
	address  string
	proxy    string
	greeting []byte // SOCKS5: the methods
	open     []byte // the request for a tunnel
	request  []byte
}

func newVisitor(port int, proxy, target string) (*visitor, error) {
	to, err := netip.ParseAddrPort(target)
	if err != nil {
		return nil, err
	}
	v := &visitor{address: fmt.Sprintf("127.0.0.1:%d", port), proxy: proxy, request: []byte("GET / HTTP/1.1\r\nHost: " + target + "\r\n\r\n")}
	switch proxy {
	case "connect":
		v.open = []byte("CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n")
	case "socks5": // RFC 1928: no authentication, CONNECT, IPv4
		v.greeting = []byte{5, 1, 0}
		v.open = append(append([]byte{5, 1, 0, 1}, to.Addr().AsSlice()...), byte(to.Port()>>8), byte(to.Port()))
	case "none":
	default:
		return nil, errors.New("unknown proxy protocol " + proxy)
	}
	return v, nil
}

// tunnel connects and negotiates.
func (v *visitor) tunnel(buffer []byte) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", v.address, deadline)
	if err != nil {
		return nil, err
	}
	if err = conn.SetDeadline(time.Now().Add(deadline)); err == nil {
		err = v.negotiate(conn, buffer)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (v *visitor) negotiate(conn net.Conn, buffer []byte) error {
	switch v.proxy {
	case "connect":
		if _, err := conn.Write(v.open); err != nil {
			return err
		}
		head, err := readHead(conn, buffer)
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 200")) && !bytes.HasPrefix(head, []byte("HTTP/1.0 200")) {
			return fmt.Errorf("CONNECT: %.60q", head)
		}
	case "socks5":
		if _, err := conn.Write(v.greeting); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, buffer[:2]); err != nil {
			return err
		}
		if buffer[0] != 5 || buffer[1] != 0 {
			return fmt.Errorf("SOCKS5 method: %v", buffer[:2])
		}
		if _, err := conn.Write(v.open); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, buffer[:10]); err != nil { // with an IPv4 address
			return err
		}
		if buffer[1] != 0 || buffer[3] != 1 && buffer[3] != 4 {
			return fmt.Errorf("SOCKS5 reply: %v", buffer[:10])
		}
		if buffer[3] == 4 { // with an IPv6 address
			_, err := io.ReadFull(conn, buffer[:12])
			return err
		}
	}
	return nil
}

// readHead reads a head that nothing follows.
func readHead(conn net.Conn, buffer []byte) ([]byte, error) {
	for count := 0; count < len(buffer); {
		more, err := conn.Read(buffer[count:])
		if err != nil {
			return nil, err
		}
		count += more
		if bytes.HasSuffix(buffer[:count], headEnd) {
			return buffer[:count], nil
		}
	}
	return nil, errors.New("head too long")
}

// exchange makes one request and reads its response.
func (v *visitor) exchange(conn net.Conn, buffer []byte) error {
	if _, err := conn.Write(v.request); err != nil {
		return err
	}
	count, whole := 0, len(buffer)
	for count < whole {
		more, err := conn.Read(buffer[count:])
		if err != nil {
			return err
		}
		count += more
		if end := bytes.Index(buffer[:count], headEnd); end >= 0 {
			if !bytes.HasPrefix(buffer, []byte("HTTP/1.1 200")) {
				return fmt.Errorf("response: %.60q", buffer[:count])
			}
			_, after, found := bytes.Cut(buffer[:end+2], lengthName)
			line, _, _ := bytes.Cut(after, []byte("\r\n"))
			length, err := strconv.Atoi(string(line))
			if !found || err != nil {
				return errors.New("response without Content-Length")
			}
			whole = end + len(headEnd) + length
		}
	}
	if count != whole || whole > len(buffer) {
		return fmt.Errorf("response of %d bytes, got %d", whole, count)
	}
	return nil
}

type result struct {
	Done       int64   `json:"done"`
	Failed     int64   `json:"failed"`
	FirstError string  `json:"first_error"`
	ElapsedS   float64 `json:"elapsed_s"`
}

// run lets every connection do its work until the time is up.
func run(connections int, seconds float64, work func(number int, buffer []byte) error) result {
	var found result
	var done, failed atomic.Int64
	var once sync.Once
	var group sync.WaitGroup
	start := time.Now()
	end := start.Add(time.Duration(seconds * float64(time.Second)))
	for number := range make([]struct{}, connections) {
		group.Add(1)
		go func(number int) {
			defer group.Done()
			buffer := make([]byte, headBytes)
			for time.Now().Before(end) {
				if err := work(number, buffer); err != nil {
					failed.Add(1)
					once.Do(func() { found.FirstError = err.Error() })
					time.Sleep(time.Millisecond)
					continue
				}
				done.Add(1)
			}
		}(number)
	}
	group.Wait()
	found.ElapsedS, found.Done, found.Failed = time.Since(start).Seconds(), done.Load(), failed.Load()
	return found
}

func main() {
	port := flag.Int("port", 0, "connect to PORT of 127.0.0.1")
	proxy := flag.String("proxy", "none", "negotiate a tunnel by this protocol: connect, socks5 or none")
	target := flag.String("target", "", "the target of the tunnels, ADDRESS:PORT")
	fresh := flag.Bool("new", false, "open a tunnel for every request")
	connections := flag.Int("connections", 64, "tunnels at a time")
	seconds := flag.Float64("seconds", 3, "duration")
	flag.Parse()
	runtime.GOMAXPROCS(1)

	v, err := newVisitor(*port, *proxy, *target)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tunnels:", err)
		os.Exit(2)
	}
	if *fresh {
		json.NewEncoder(os.Stdout).Encode(run(*connections, *seconds, func(_ int, buffer []byte) error {
			conn, err := v.tunnel(buffer)
			if err != nil {
				return err
			}
			defer conn.Close()
			return v.exchange(conn, buffer)
		}))
		return
	}
	conns := make([]net.Conn, *connections)
	for number := range conns {
		buffer := make([]byte, headBytes)
		if conns[number], err = v.tunnel(buffer); err == nil {
			err = conns[number].SetDeadline(time.Now().Add(deadline + time.Duration(*seconds*float64(time.Second))))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "tunnels: opening:", err)
			os.Exit(1)
		}
	}
	json.NewEncoder(os.Stdout).Encode(run(*connections, *seconds, func(number int, buffer []byte) error {
		return v.exchange(conns[number], buffer)
	}))
}
