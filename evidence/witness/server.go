package witness

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
)

// Handler serves POST /add-checkpoint. Behind a proxy that adds a prefix, that one has to strip it.
func (w *Witness) Handler(log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxRequest))
		if err != nil {
			http.Error(rw, "the request can't be read: "+err.Error(), http.StatusBadRequest)
			return
		}
		req, err := ParseRequest(body)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		line, err := w.Add(req)
		var no *Refusal
		switch {
		case errors.As(err, &no):
			if no.Code == http.StatusUnprocessableEntity || (no.Code == http.StatusConflict && no.Size == req.Old) {
				// Signed by the log, and contradicting what it showed before: proof of two histories, to be kept.
				log.ErrorContext(r.Context(), "a log shows another history", "reason", no.Reason, "request", string(body))
			} else {
				log.InfoContext(r.Context(), "not cosigned", "code", no.Code, "reason", no.Reason)
			}
			refuse(rw, no)
		case err != nil:
			log.ErrorContext(r.Context(), "not cosigned", "err", err)
			http.Error(rw, "the witness can't keep its state at the moment", http.StatusInternalServerError)
		default:
			rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = io.WriteString(rw, line) // a log that left asks again
		}
	})
	return mux
}

func refuse(rw http.ResponseWriter, no *Refusal) {
	if no.Code != http.StatusConflict {
		http.Error(rw, no.Reason, no.Code)
		return
	}
	rw.Header().Set("Content-Type", sizeType)
	rw.WriteHeader(no.Code)
	_, _ = fmt.Fprintf(rw, "%d\n", no.Size)
}

// sizeType is the type of a 409's body.
const sizeType = "text/x.tlog.size"
