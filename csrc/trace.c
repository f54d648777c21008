/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trace.c -- trace events in a ring per thread
 *
 * Owns: the rings, the traces, the switch.
 * Locks: one mutex, innermost, for the lists of rings and traces and for
 *        reading; a thread takes it at its first event and when it ends.
 *        Recording an event takes none.
 * Kernel: kernel/trace/ring_buffer.c, include/trace/events/fs_dax.h (v4.14).
 * Differs: rings belong to threads, and every reader has a cursor of its own.
 */
#include "trace.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "errormsg.h"
#include "usdt.h"

enum { WORDS = sizeof(struct dax_trace_event) / sizeof(uint64_t) };

_Static_assert(sizeof(struct dax_trace_event) == WORDS * sizeof(uint64_t),
	       "an event is copied word by word");

struct record {
	_Atomic uint64_t word[WORDS];
};

struct ring {
	_Atomic uint64_t head;		/* events ever written, by the owner */
	struct record *record;
	uint64_t nr;			/* records, a power of two */
	uint32_t thread;		/* of the owner */
	/* guarded by the lock */
	bool owned;			/* its thread lives */
	struct ring *next;
	uint64_t cursor[TRACE_MAX];	/* what each trace reads next */
};

struct dax_trace {
	unsigned int slot;		/* in traces[] and wanted[] */
	unsigned int fork_generation;
	/* guarded by the lock */
	bool running;
	uint64_t ino;			/* 0: all files */
	uint64_t nr_events;
	uint64_t start, stop;		/* ns; stop: UINT64_MAX while it runs */
	uint64_t horizon;		/* of the reading under way, 0: none */
	uint64_t overwritten;		/* found while reading */
	uint64_t dropped, dropped_before;	/* events that got no ring */
};

/* In a section that the tools know, since its first half is theirs. */
union trace_switch trace_switch __attribute__((section(".probes")));

#ifdef DAX_HAVE_USDT
#define SEMAPHORE(id, name)						\
	extern union trace_switch USDT_SEMAPHORE(name)			\
		__attribute__((alias("trace_switch"), visibility("hidden")));
TRACE_EVENTS(SEMAPHORE)
#endif

static struct mutex lock;
static struct ring *rings;
static unsigned int nr_rings;
static struct dax_trace *traces[TRACE_MAX];
static _Atomic uint64_t nr_wanted;	/* records in the rings to be made */
static _Atomic uint64_t nr_dropped;
static pthread_key_t exit_key;
static int exit_key_error;

/* Files that running traces want, read without the lock: 0 none, else an ino
 * or ALL_FILES. */
static _Atomic uint64_t wanted[TRACE_MAX];
static _Atomic unsigned int max_wanted;	/* slots ever used */
#define ALL_FILES	UINT64_MAX

static __thread struct ring *this_ring;

#define NAME(id, name)	[DAX_TRACE_##id] = #name,
static const char *const names[DAX_NR_TRACE_EVENTS] = { TRACE_EVENTS(NAME) };

const char *trace_event_name(int event)
{
	return event >= 0 && event < DAX_NR_TRACE_EVENTS ? names[event] : NULL;
}

/* ---- rings ------------------------------------------------------------------- */

static size_t ring_bytes(const struct ring *ring)
{
	return ring->nr * sizeof(struct record);
}

static struct ring *ring_new(uint64_t nr)
{
	struct ring *ring = dax_zalloc(sizeof(*ring));
	void *record;

	if (!ring)
		return NULL;
	ring->nr = nr;
	if (sys_reserve(&record, ring_bytes(ring))) {
		dax_free(ring);
		return NULL;
	}
	ring->record = record;
	return ring;
}

static void ring_free(struct ring *ring)
{
	sys_unreserve(ring->record, ring_bytes(ring));
	dax_free(ring);
}

/* The owner alone.  Release stores: whoever sees a word of this event sees
 * that all events before it are counted. */
static void ring_put(struct ring *ring, const struct dax_trace_event *event)
{
	uint64_t head = READ_ONCE(ring->head), word[WORDS];
	struct record *record = &ring->record[head & (ring->nr - 1)];

	memcpy(word, event, sizeof(word));
	for (unsigned int i = 0; i < WORDS; i++)
		smp_store_release(&record->word[i], word[i]);
	smp_store_release(&ring->head, head + 1);
}

/* First event that is still whole: the writer may be inside the one record
 * that is not counted here. */
static uint64_t ring_first(const struct ring *ring, uint64_t head)
{
	return head < ring->nr ? 0 : head - (ring->nr - 1);
}

static void ring_copy(const struct ring *ring, uint64_t i,
		      struct dax_trace_event *event)
{
	struct record *record = &ring->record[i & (ring->nr - 1)];
	uint64_t word[WORDS];

	for (unsigned int w = 0; w < WORDS; w++)
		word[w] = smp_load_acquire(&record->word[w]);
	dax_test_yield(DAX_TEST_TRACE_COPIED);
	memcpy(event, word, sizeof(word));
}

/* The next event of @trace up to its horizon; false: no more.  Lock held. */
static bool ring_get(struct ring *ring, struct dax_trace *trace,
		     struct dax_trace_event *event)
{
	uint64_t *cursor = &ring->cursor[trace->slot];

	for (;;) {
		uint64_t head = smp_load_acquire(&ring->head);
		uint64_t first = ring_first(ring, head);

		if (*cursor < first) {
			trace->overwritten += first - *cursor;
			*cursor = first;
		}
		if (*cursor == head)
			return false;
		ring_copy(ring, *cursor, event);
		if (*cursor >= ring_first(ring, smp_load_acquire(&ring->head)))
			break;
	}
	if (event->time > trace->horizon)
		return false;
	++*cursor;
	return true;
}

/* ---- a thread and its ring ------------------------------------------------------ */

/* No trace is left: rings of ended threads go, the others give back their
 * memory.  An owner may just be writing: a trace to come starts behind that,
 * or sees an event that is older than itself.  Lock held. */
static void drop_rings(void)
{
	struct ring **link = &rings;

	while (*link) {
		struct ring *ring = *link;

		if (ring->owned) {
			sys_discard(ring->record, ring_bytes(ring));
			link = &ring->next;
			continue;
		}
		*link = ring->next;
		nr_rings--;
		ring_free(ring);
	}
}

static bool is_no_trace(void)
{
	for (unsigned int i = 0; i < TRACE_MAX; i++)
		if (traces[i])
			return false;
	return true;
}

/* Thread exit.  The ring stays for those who have not read it. */
static void detach(void *thread)
{
	(void)thread;
	mutex_lock(&lock);
	if (this_ring)
		this_ring->owned = false;
	this_ring = NULL;
	if (is_no_trace())
		drop_rings();
	mutex_unlock(&lock);
}

static bool is_read(const struct ring *ring)
{
	for (unsigned int i = 0; i < TRACE_MAX; i++)
		if (traces[i] && ring->cursor[i] != READ_ONCE(ring->head))
			return false;
	return true;
}

/* A ring whose thread has ended: one that everybody has read, or, when there
 * are many, any.  Its events stay until the new owner comes round. */
static struct ring *find_ring(uint64_t nr)
{
	for (struct ring *ring = rings; ring; ring = ring->next)
		if (!ring->owned && ring->nr >= nr &&
		    (nr_rings >= TRACE_MAX_RINGS || is_read(ring)))
			return ring;
	return NULL;
}

static struct ring *find_or_make_ring(uint64_t nr)
{
	struct ring *ring = find_ring(nr);

	if (ring)
		return ring;
	ring = ring_new(nr);
	if (!ring)
		return NULL;
	ring->next = rings;
	rings = ring;
	nr_rings++;
	return ring;
}

/* The thread's first event, or its first since longer rings are asked for. */
static __cold struct ring *attach(void)
{
	struct ring *ring;

	if (exit_key_error || pthread_setspecific(exit_key, &this_ring))
		return NULL;
	mutex_lock(&lock);
	ring = find_or_make_ring(READ_ONCE(nr_wanted));
	if (ring) {
		ring->owned = true;
		ring->thread = sys_gettid();
		if (this_ring)
			this_ring->owned = false;
		this_ring = ring;
	}
	mutex_unlock(&lock);
	return ring;
}

static bool is_wanted(uint64_t ino)
{
	unsigned int nr = READ_ONCE(max_wanted);

	for (unsigned int i = 0; i < nr; i++) {
		uint64_t want = READ_ONCE(wanted[i]);

		if (want == ino || want == ALL_FILES)
			return true;
	}
	return false;
}

void trace_record(struct dax_trace_event *event)
{
	struct ring *ring = this_ring;

	if (!is_wanted(event->ino))
		return;
	if (unlikely(!ring || ring->nr < READ_ONCE(nr_wanted))) {
		ring = attach();
		if (!ring) {
			atomic_fetch_add(&nr_dropped, 1);
			return;
		}
	}
	event->time = sys_clock_ns();
	event->thread = ring->thread;
	event->cpu = sys_cpu();
	ring_put(ring, event);
}

/* ---- traces ------------------------------------------------------------------------ */

static uint64_t round_up(size_t nr_events)
{
	uint64_t nr = TRACE_MIN_EVENTS;

	/* One more: the record being written is not for readers. */
	while (nr < (nr_events ? nr_events : TRACE_DEFAULT_EVENTS - 1) + 1)
		nr *= 2;
	return nr;
}

/* The longest that an existing trace asks for.  Lock held. */
static void set_nr_wanted(void)
{
	uint64_t nr = 0;

	for (unsigned int i = 0; i < TRACE_MAX; i++)
		if (traces[i] && traces[i]->nr_events > nr)
			nr = traces[i]->nr_events;
	WRITE_ONCE(nr_wanted, nr);
}

/* Lock held, the trace has its slot. */
static void run_trace(struct dax_trace *trace)
{
	traces[trace->slot] = trace;
	set_nr_wanted();
	for (struct ring *ring = rings; ring; ring = ring->next)
		ring->cursor[trace->slot] = smp_load_acquire(&ring->head);
	trace->dropped_before = READ_ONCE(nr_dropped);
	trace->start = sys_clock_ns();
	if (trace->slot >= READ_ONCE(max_wanted))
		WRITE_ONCE(max_wanted, trace->slot + 1);
	WRITE_ONCE(wanted[trace->slot], trace->ino ? trace->ino : ALL_FILES);
	atomic_fetch_add(&trace_switch.traces, 1);
}

static unsigned int free_slot(void)
{
	unsigned int slot = 0;

	while (slot < TRACE_MAX && traces[slot])
		slot++;
	return slot;
}

int trace_start(struct dax_trace **ret_trace, uint64_t ino, size_t nr_events)
{
	struct dax_trace *trace;

	if (nr_events > TRACE_MAX_EVENTS)
		return dax_error(-EINVAL, "%zu events per thread: at most %d", nr_events,
				 TRACE_MAX_EVENTS);
	trace = dax_zalloc(sizeof(*trace));
	if (!trace)
		return dax_error(-ENOMEM, "no memory for a trace");
	trace->ino = ino;
	trace->nr_events = round_up(nr_events);
	trace->fork_generation = sys_fork_generation;
	trace->running = true;
	trace->stop = UINT64_MAX;
	mutex_lock(&lock);
	trace->slot = free_slot();
	if (trace->slot < TRACE_MAX)
		run_trace(trace);
	mutex_unlock(&lock);
	if (trace->slot == TRACE_MAX) {
		dax_free(trace);
		return dax_error(-EBUSY, "%d traces exist already", TRACE_MAX);
	}
	*ret_trace = trace;
	return 0;
}

/* Made before fork()?  Then nothing of it is here. */
static bool is_stale(const struct dax_trace *trace)
{
	return trace->fork_generation != sys_fork_generation;
}

static uint64_t dropped(const struct dax_trace *trace)
{
	if (!trace->running)
		return trace->dropped;
	return READ_ONCE(nr_dropped) - trace->dropped_before;
}

/* Lock held. */
static void stop_trace(struct dax_trace *trace)
{
	if (!trace->running)
		return;
	WRITE_ONCE(wanted[trace->slot], 0);
	atomic_fetch_sub(&trace_switch.traces, 1);
	trace->dropped = dropped(trace);
	trace->stop = sys_clock_ns();
	trace->running = false;
}

void trace_stop(struct dax_trace *trace)
{
	if (is_stale(trace))
		return;
	mutex_lock(&lock);
	stop_trace(trace);
	mutex_unlock(&lock);
}

/* Rings hold events of other files and of other times too. */
static bool is_mine(const struct dax_trace *trace,
		    const struct dax_trace_event *event)
{
	return (!trace->ino || event->ino == trace->ino) &&
	       event->time >= trace->start && event->time <= trace->stop;
}

/* What is recorded from now on is left to the next reading, or threads that
 * record faster than this one reads would keep it for ever. */
int64_t trace_read(struct dax_trace *trace, struct dax_trace_event *buf,
		   size_t nr)
{
	size_t filled = 0;

	if (is_stale(trace))
		return dax_error(-ESTALE, "the trace was started before fork(): a child "
				 "starts its own");
	mutex_lock(&lock);
	if (!trace->horizon)
		trace->horizon = sys_clock_ns();
	for (struct ring *ring = rings; ring; ring = ring->next)
		while (filled < nr && ring_get(ring, trace, &buf[filled]))
			filled += is_mine(trace, &buf[filled]);
	if (filled < nr)
		trace->horizon = 0;
	mutex_unlock(&lock);
	return (int64_t)filled;
}

uint64_t trace_lost(struct dax_trace *trace)
{
	uint64_t lost;

	if (is_stale(trace))
		return 0;
	mutex_lock(&lock);
	lost = trace->overwritten + dropped(trace);
	for (struct ring *ring = rings; ring; ring = ring->next) {
		uint64_t first = ring_first(ring, smp_load_acquire(&ring->head));

		if (first > ring->cursor[trace->slot])
			lost += first - ring->cursor[trace->slot];
	}
	mutex_unlock(&lock);
	return lost;
}

void trace_free(struct dax_trace *trace)
{
	if (!trace)
		return;
	if (!is_stale(trace)) {
		mutex_lock(&lock);
		stop_trace(trace);
		traces[trace->slot] = NULL;
		set_nr_wanted();
		if (is_no_trace())
			drop_rings();
		mutex_unlock(&lock);
	}
	dax_free(trace);
}

/* ---- fork -------------------------------------------------------------------------- */

static void fork_prepare(void)
{
	mutex_lock(&lock);
}

static void fork_parent(void)
{
	mutex_unlock(&lock);
}

/* The child has one thread, which is not writing: all rings go. */
static void fork_child(void)
{
	while (rings) {
		struct ring *ring = rings;

		rings = ring->next;
		ring_free(ring);
	}
	nr_rings = 0;
	this_ring = NULL;
	memset(traces, 0, sizeof(traces));
	for (unsigned int i = 0; i < TRACE_MAX; i++)
		WRITE_ONCE(wanted[i], 0);
	WRITE_ONCE(nr_wanted, 0);
	WRITE_ONCE(trace_switch.traces, 0);
	mutex_unlock(&lock);
}

__attribute__((constructor)) static void trace_init(void)
{
	exit_key_error = pthread_key_create(&exit_key, detach);
	sys_at_fork(fork_prepare, fork_parent, fork_child);
}
