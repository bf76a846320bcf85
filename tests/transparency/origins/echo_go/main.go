// Echoes each request as JSON, as net/http understood it. Prints its port.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sort"
	"strings"
	"time"
)

type seen struct {
	Method   string      `json:"method"`
	Target   string      `json:"target"`
	Version  string      `json:"version"`
	Host     string      `json:"host"`
	Fields   [][2]string `json:"fields"`
	Trailers [][2]string `json:"trailers"`
	Bytes    int         `json:"bytes"`
	SHA256   string      `json:"sha256"`
}

func sorted(header http.Header) [][2]string {
	all := [][2]string{}
	for name, values := range header {
		for _, value := range values {
			all = append(all, [2]string{name, value})
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i][0] < all[j][0] })
	return all
}

func echo(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/content") {
		http.ServeContent(w, r, "content.txt", time.Unix(1700000000, 0), strings.NewReader(strings.Repeat("0123456789", 100)))
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	sum := sha256.Sum256(body)
	w.Header().Set("Content-Type", "application/json")
	if strings.HasPrefix(r.URL.Path, "/hints") {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
	}
	if strings.HasPrefix(r.URL.Path, "/trailers") {
		w.Header().Set("Trailer", "X-Checksum")
		defer w.Header().Set("X-Checksum", "abc")
	}
	_ = json.NewEncoder(w).Encode(seen{
		r.Method, r.RequestURI, r.Proto, r.Host, sorted(r.Header), sorted(r.Trailer), len(body), hex.EncodeToString(sum[:]),
	})
	if f, ok := w.(http.Flusher); ok && strings.HasPrefix(r.URL.Path, "/trailers") {
		f.Flush()
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	server := &http.Server{Handler: http.HandlerFunc(echo), MaxHeaderBytes: 256 * 1024}
	panic(server.Serve(listener))
}
