// Package membudget divides the memory that a process may take among those who
// take much of it. Each has an account with a limit of its own, so that none
// starves another: however much is written, there is memory to read and to
// compact with. What an account holds is counted when it is taken, before it is
// allocated wherever that is possible.
package membudget

import (
	"slices"
	"sync"
)

// Budget is the memory of a process, or of one server in it, and its accounts.
// Its methods may be called concurrently.
type Budget struct {
	limit int64

	mu struct {
		sync.Mutex
		accounts []account
	}
}

// account is an Account, or what is measured elsewhere.
type account struct {
	*Account
	used func() int64 // of what is measured
}

// New returns a budget of limit bytes without accounts.
func New(limit int64) *Budget { return &Budget{limit: limit} }

// Limit returns all the memory there is, in bytes.
func (b *Budget) Limit() int64 { return b.limit }

// Account adds an account of at most limit bytes, in the place of an earlier one
// of that name. The limits together should leave some room for what nobody
// counts: stacks, small objects, garbage.
func (b *Budget) Account(name string, limit int64) *Account {
	a := &Account{name: name, limit: limit}
	b.add(account{Account: a})
	return a
}

// Measured adds memory that has a bound of its own, limit, and tells how much it
// takes: a cache. It takes the place of an earlier account of that name.
func (b *Budget) Measured(name string, limit int64, used func() int64) {
	b.add(account{Account: &Account{name: name, limit: limit}, used: used})
}

func (b *Budget) add(a account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := slices.Clone(b.mu.accounts) // Usage may be reading the old one
	if i := slices.IndexFunc(list, func(x account) bool { return x.name == a.name }); i >= 0 {
		list[i] = a
	} else {
		list = append(list, a)
	}
	b.mu.accounts = list
}

// Usage is what one account holds, in bytes.
type Usage struct {
	Name              string
	Used, Peak, Limit int64
}

// Usage returns what all accounts hold, in the order in which they were added.
func (b *Budget) Usage() []Usage {
	b.mu.Lock()
	accounts := b.mu.accounts
	b.mu.Unlock()
	list := make([]Usage, len(accounts))
	for i, a := range accounts {
		if a.used != nil {
			a.set(a.used())
		}
		list[i] = Usage{Name: a.name, Used: a.Used(), Peak: a.Peak(), Limit: a.limit}
	}
	return list
}
