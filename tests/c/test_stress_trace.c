/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_stress_trace.c -- threads record, others start, read, stop and free
 * traces meanwhile; built under TSan too
 *
 * Each word of an event says which event it is of, so a torn one is seen; the
 * numbers of one writer only grow.
 */
#include "trace.h"

#include <pthread.h>

#include "fixture.h"

enum { WRITERS = 2, READERS = 2, ROUNDS = 50, ENOUGH = 200, BATCH = 1000,
       INO = 1000000 };

static _Atomic bool stop;
static _Atomic unsigned int wrong;
static _Atomic uint64_t nr_read, nr_lost;

static void expect(bool right)
{
	if (!right)
		atomic_fetch_add(&wrong, 1);
}

static void *record_all(void *arg)
{
	uint64_t ino = INO + (uint64_t)(uintptr_t)arg;

	for (uint64_t i = 1; !READ_ONCE(stop); i++) {
		struct dax_trace_event event = {
			.ino = ino, .pgoff = i, .address = i, .vm_start = i,
			.vm_end = i, .max_pgoff = i, .radix_entry = i, .pfn = i,
		};

		if (trace_enabled())
			trace_record(&event);
	}
	return NULL;
}

/* Threads that come and go: their rings change hands. */
static void *record_some(void *arg)
{
	(void)arg;
	for (uint64_t i = 1; i < 100; i++) {
		struct dax_trace_event event = { .ino = INO + WRITERS, .pgoff = i };

		trace_record(&event);
	}
	return NULL;
}

static void check(const struct dax_trace_event *e, uint64_t ino, uint64_t *last)
{
	uint64_t i = e->pgoff;

	expect(e->ino == ino && i > *last && e->address == i && e->vm_start == i &&
	       e->vm_end == i && e->max_pgoff == i && e->radix_entry == i &&
	       e->pfn == i);
	*last = i;
}

static uint64_t read_some(struct dax_trace *trace, uint64_t ino, uint64_t *last,
			  struct dax_trace_event *buf)
{
	int64_t nr = trace_read(trace, buf, BATCH);

	for (int64_t i = 0; i < nr; i++)
		check(&buf[i], ino, last);
	atomic_fetch_add(&nr_read, (uint64_t)nr);
	return (uint64_t)nr;
}

static void read_one(uint64_t ino, struct dax_trace_event *buf)
{
	struct dax_trace *trace;
	uint64_t last = 0, nr = 0;

	MUST(!trace_start(&trace, ino, 60));
	while (nr < ENOUGH)
		nr += read_some(trace, ino, &last, buf);
	trace_stop(trace);
	while (read_some(trace, ino, &last, buf))
		;
	atomic_fetch_add(&nr_lost, trace_lost(trace));
	trace_free(trace);
}

static void *read_all(void *arg)
{
	static struct dax_trace_event buf[READERS][BATCH];
	uintptr_t nr = (uintptr_t)arg;

	for (int i = 0; i < ROUNDS; i++)
		read_one(INO + (uint64_t)i % WRITERS, buf[nr]);
	return NULL;
}

static void writers_and_readers(void)
{
	pthread_t writers[WRITERS], readers[READERS], thread;

	for (uintptr_t i = 0; i < WRITERS; i++)
		MUST(!pthread_create(&writers[i], NULL, record_all, (void *)i));
	for (uintptr_t i = 0; i < READERS; i++)
		MUST(!pthread_create(&readers[i], NULL, read_all, (void *)i));
	for (int i = 0; i < ROUNDS; i++) {
		MUST(!pthread_create(&thread, NULL, record_some, NULL));
		pthread_join(thread, NULL);
	}
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	WRITE_ONCE(stop, true);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	EQ(wrong, 0);
	CHECK(nr_read >= READERS * ROUNDS * ENOUGH);
	CHECK(nr_lost > 0);	/* readers were overtaken */
	CHECK(!trace_enabled());
	printf("# %" PRIu64 " events read, %" PRIu64 " overwritten\n", nr_read, nr_lost);
}

int main(void)
{
	plan(1);
	run("100 traces of two writers by two readers", writers_and_readers);
	return done();
}
