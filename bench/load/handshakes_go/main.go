// Visitors that open a TLS 1.3 connection for every request, as fast as they can, and print a JSON object:
// done (connections with a complete response), failed, first_error, elapsed_s.
//
//	handshakes -port 8443 -name web.localhost -ca cert.pem [-resume] [-connections 16] [-seconds 3]
//
// Every visitor verifies the server's signature, but only the first one verifies the chain, so that little of a shared machine is the
// client's.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const connectionTime = 10 * time.Second

// ticket saves the newest session for all visitors. Unlike Go's own cache it never withdraws one, because servers with
// stateless tickets accept each of them many times.
type ticket struct {
	newest atomic.Pointer[tls.ClientSessionState]
}

func (saved *ticket) Get(string) (*tls.ClientSessionState, bool) {
	session := saved.newest.Load()
	return session, session != nil
}

func (saved *ticket) Put(_ string, session *tls.ClientSessionState) {
	if session != nil {
		saved.newest.Store(session)
	}
}

type visitor struct {
	address string
	request []byte
	config  *tls.Config
}

// visit makes one connection, one request, and reads to the end. It returns whether the session was resumed.
func (v *visitor) visit() (bool, error) {
	raw, err := net.DialTimeout("tcp", v.address, connectionTime)
	if err != nil {
		return false, err
	}
	defer raw.Close()
	if err = raw.SetDeadline(time.Now().Add(connectionTime)); err != nil {
		return false, err
	}
	conn := tls.Client(raw, v.config)
	if err = conn.Handshake(); err != nil {
		return false, err
	}
	if _, err = conn.Write(v.request); err != nil {
		return false, err
	}
	reader := bufio.NewReaderSize(conn, 1024)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return false, err
	}
	if response.StatusCode != http.StatusOK {
		return false, errors.New(response.Status)
	}
	if _, err = io.Copy(io.Discard, response.Body); err != nil {
		return false, err
	}
	if _, err = reader.ReadByte(); err != io.EOF {
		return false, fmt.Errorf("after the response: expected the end, got %v", err)
	}
	return conn.ConnectionState().DidResume, nil
}

type result struct {
	Done       int64   `json:"done"`
	Failed     int64   `json:"failed"`
	FirstError string  `json:"first_error"`
	ElapsedS   float64 `json:"elapsed_s"`
}

// run lets all visitors connect until the time is up. A handshake of the wrong kind counts as failed.
func run(v *visitor, connections int, seconds float64, resume bool) result {
	var found result
	var done, failed atomic.Int64
	var once sync.Once
	var group sync.WaitGroup
	start := time.Now()
	end := start.Add(time.Duration(seconds * float64(time.Second)))
	for range make([]struct{}, connections) {
		group.Add(1)
		go func() {
			defer group.Done()
			for time.Now().Before(end) {
				resumed, err := v.visit()
				if err == nil && resumed != resume {
					err = fmt.Errorf("resumed: %v", resumed)
				}
				if err != nil {
					failed.Add(1)
					once.Do(func() { found.FirstError = err.Error() })
					time.Sleep(time.Millisecond)
					continue
				}
				done.Add(1)
			}
		}()
	}
	group.Wait()
	found.ElapsedS, found.Done, found.Failed = time.Since(start).Seconds(), done.Load(), failed.Load()
	return found
}

func main() {
	port := flag.Int("port", 0, "connect to PORT of 127.0.0.1")
	name := flag.String("name", "", "the server's name")
	ca := flag.String("ca", "", "verify the first connection with the certificates in FILE")
	resume := flag.Bool("resume", false, "resume the session of an earlier connection")
	connections := flag.Int("connections", 16, "connections at a time")
	seconds := flag.Float64("seconds", 3, "duration")
	flag.Parse()

	pem, err := os.ReadFile(*ca)
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		fmt.Fprintln(os.Stderr, "handshakes: cannot read certificates from", *ca)
		os.Exit(2)
	}
	config := &tls.Config{
		ServerName: *name, RootCAs: roots, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		CurvePreferences: []tls.CurveID{tls.X25519}, // the same for servers with and without hybrid curves
	}
	request := fmt.Sprintf("GET / HTTP/1.1\r\nHost: %s:%d\r\nConnection: close\r\n\r\n", *name, *port)
	first := &visitor{fmt.Sprintf("127.0.0.1:%d", *port), []byte(request), config}
	if *resume {
		config.ClientSessionCache = &ticket{}
	}
	if _, err = first.visit(); err != nil {
		fmt.Fprintln(os.Stderr, "handshakes: first connection:", err)
		os.Exit(1)
	}
	others := *first
	if !*resume { // Go resumes no session of a connection that was not verified; a resumed one has no chain to verify
		others.config = config.Clone()
		others.config.InsecureSkipVerify = true
	}
	json.NewEncoder(os.Stdout).Encode(run(&others, *connections, *seconds, *resume))
}
