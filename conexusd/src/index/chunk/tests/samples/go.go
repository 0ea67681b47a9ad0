// Package server serves.
package server

import "fmt"
import (
	"net/http"
	m "math"
)

const Pi = 3.14

const (
	// A is first.
	A = iota
	B
)

var ErrClosed = errors.New("closed")

type (
	// Shape has an area.
	Shape interface {
		Area() float64
	}
	ID = string
)

// Server serves requests.
type Server struct {
	mux  *http.ServeMux
	name string
}

// Serve answers until the context ends.
func (s *Server) Serve(ctx context.Context, port int) error {
	handler := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, s.name)
	}
	s.mux.HandleFunc("/", handler)
	return http.ListenAndServe(fmt.Sprint(port), s.mux)
}

func (s Set[T]) Add(value T) {}

func New() *Server { return &Server{} }
