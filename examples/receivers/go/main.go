// A webhook receiver in Go, with the standard-webhooks library.
//
//	go mod tidy
//	WEBHOOK_SECRET=whsec_... go run . [PORT]
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The longest body that is read.
const maxBody = 1 << 20

type receiver struct {
	webhook *standardwebhooks.Webhook
	mu      sync.Mutex
	// Deliveries come at least once. In a real program these are in the database, written with what the delivery causes.
	seen map[string]bool
}

func newReceiver(secret string) (*receiver, error) {
	if secret == "" {
		return nil, errors.New("it is not set")
	}
	var webhook *standardwebhooks.Webhook
	var err error
	// The library takes a text for base64, with or without whsec_; a secret of another form is given as bytes.
	if strings.HasPrefix(secret, "whsec_") {
		webhook, err = standardwebhooks.NewWebhook(secret)
	} else {
		webhook, err = standardwebhooks.NewWebhookRaw([]byte(secret))
	}
	return &receiver{webhook: webhook, seen: map[string]bool{}}, err
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	status, line := r.receive(req.Header, body)
	fmt.Println(line)
	w.WriteHeader(status)
}

// receive gives what to answer, and the line to print.
func (r *receiver) receive(header http.Header, body []byte) (int, string) {
	// The bytes as they came, before anything parses them.
	if err := r.webhook.Verify(body, header); err != nil {
		return http.StatusUnauthorized, fmt.Sprintf("401 refused: %v", err)
	}
	var job struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(body, &job); err != nil {
		return http.StatusBadRequest, fmt.Sprintf("400 %v", err)
	}
	delivery := header.Get("webhook-id")
	note := "verified"
	if r.again(delivery) {
		note = "seen before"
	}
	event, attempt := header.Get("X-Webhook-Event"), header.Get("X-Webhook-Attempt")
	return http.StatusOK, fmt.Sprintf("200 %s %s attempt %s %s %s", event, job.ID, attempt, delivery, note)
}

// again remembers a delivery, and says whether it was known.
func (r *receiver) again(delivery string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.seen[delivery]
	r.seen[delivery] = true
	return known
}

func main() {
	port := "9000"
	if len(os.Args) > 1 {
		port = os.Args[1]
	}
	receiver, err := newReceiver(os.Getenv("WEBHOOK_SECRET"))
	if err != nil {
		log.Fatalf("WEBHOOK_SECRET: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on http://%s/\n", listener.Addr())
	log.Fatal(http.Serve(listener, receiver))
}
