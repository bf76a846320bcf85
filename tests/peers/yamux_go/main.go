// Command yamuxpeer is hashicorp/yamux under a test's command.
//
// It dials -connect, speaks yamux in the given role, and obeys lines on stdin, each in a goroutine of its own:
//
//	ID open NAME          open a stream          ID ping               wait for the answer
//	ID accept NAME        accept one             ID goaway             say GoAway
//	ID send NAME HEX      write these bytes      ID end                close the session
//	ID pour NAME COUNT    write COUNT bytes      ID streams            how many are open
//	ID recv NAME COUNT    read COUNT bytes       ID close NAME         send FIN
//	ID drain NAME         read to the end
//
// It answers `ID ok …` or `ID error …`: recv and drain with count and SHA-256, pour with the SHA-256 of what it wrote.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

const blockBytes = 1 << 20

type peer struct {
	session *yamux.Session
	lock    sync.Mutex
	streams map[string]*yamux.Stream
}

func (p *peer) keep(name string, stream *yamux.Stream) string {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.streams[name] = stream
	return strconv.Itoa(int(stream.StreamID()))
}

func (p *peer) stream(name string) *yamux.Stream {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.streams[name]
}

// pour writes count bytes that differ from block to block, and returns their hash.
func pour(to io.Writer, count int64) (string, error) {
	block := make([]byte, blockBytes)
	state := uint64(88172645463325252)
	for at := 0; at < blockBytes; at += 8 {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		binary.BigEndian.PutUint64(block[at:], state)
	}
	digest := sha256.New()
	for number := uint64(0); count > 0; number++ {
		binary.BigEndian.PutUint64(block, number)
		piece := block
		if count < blockBytes {
			piece = block[:count]
		}
		digest.Write(piece)
		if _, err := to.Write(piece); err != nil {
			return "", err
		}
		count -= int64(len(piece))
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

func (p *peer) obey(words []string) (string, error) {
	argument := func(at int) string {
		if at < len(words) {
			return words[at]
		}
		return ""
	}
	switch words[0] {
	case "open":
		stream, err := p.session.OpenStream()
		if err != nil {
			return "", err
		}
		return p.keep(argument(1), stream), nil
	case "accept":
		stream, err := p.session.AcceptStream()
		if err != nil {
			return "", err
		}
		return p.keep(argument(1), stream), nil
	case "send":
		data, err := hex.DecodeString(argument(2))
		if err != nil {
			return "", err
		}
		_, err = p.stream(argument(1)).Write(data)
		return "", err
	case "pour":
		count, err := strconv.ParseInt(argument(2), 10, 64)
		if err != nil {
			return "", err
		}
		return pour(p.stream(argument(1)), count)
	case "recv":
		count, err := strconv.ParseInt(argument(2), 10, 64)
		if err != nil {
			return "", err
		}
		digest := sha256.New()
		got, err := io.CopyN(digest, p.stream(argument(1)), count)
		return fmt.Sprintf("%d %x", got, digest.Sum(nil)), err
	case "drain":
		digest := sha256.New()
		got, err := io.Copy(digest, p.stream(argument(1)))
		return fmt.Sprintf("%d %x", got, digest.Sum(nil)), err
	case "close":
		return "", p.stream(argument(1)).Close()
	case "ping":
		took, err := p.session.Ping()
		return took.String(), err
	case "goaway":
		return "", p.session.GoAway()
	case "end":
		return "", p.session.Close()
	case "streams":
		return strconv.Itoa(p.session.NumStreams()), nil
	}
	return "", fmt.Errorf("unknown order %q", words[0])
}

func main() {
	connect := flag.String("connect", "", "address to dial")
	role := flag.String("role", "server", "client or server")
	backlog := flag.Int("backlog", 256, "AcceptBacklog")
	window := flag.Uint("window", 256*1024, "MaxStreamWindowSize")
	closeTimeout := flag.Duration("close-timeout", 5*time.Minute, "StreamCloseTimeout")
	flag.Parse()

	conn, err := net.Dial("tcp", *connect)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	config := yamux.DefaultConfig()
	config.AcceptBacklog = *backlog
	config.MaxStreamWindowSize = uint32(*window)
	config.StreamCloseTimeout = *closeTimeout
	config.LogOutput = os.Stderr
	start := yamux.Server
	if *role == "client" {
		start = yamux.Client
	}
	session, err := start(conn, config)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}

	p := &peer{session: session, streams: map[string]*yamux.Stream{}}
	var out sync.Mutex
	say := func(line string) {
		out.Lock()
		defer out.Unlock()
		fmt.Println(line)
	}
	say("ready")
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		go func() {
			answer, err := p.obey(words[1:])
			if err != nil {
				say(fmt.Sprintf("%s error %v %s", words[0], err, answer))
			} else {
				say(fmt.Sprintf("%s ok %s", words[0], answer))
			}
		}()
	}
}
