/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_biased_rwsem.c -- whom the lock leans towards, and how it is taken away
 *
 * Every thread runs under step.h: who holds what is known, nothing is timed.
 */
#include "biased_rwsem.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "step.h"
#include "tap.h"

enum { READ, WRITE };

static struct percpu object;
static struct biased_rwsem sem;

static void lock_begin(void)
{
	memset(&object, 0, sizeof(object));
	memset(&sem, 0, sizeof(sem));
	MUST(!percpu_init(&object));
	biased_init_rwsem(&sem, &object);
}

static void lock_end(void)
{
	EQ(sem.writers, 0);
	EQ(sem.turn.state, 0);
	biased_fini_rwsem(&sem);
	percpu_fini(&object);
}

static struct percpu_area *down(int mode)
{
	struct percpu_area *area = this_percpu(&object);

	MUST(area);
	MUST(!(mode == WRITE ? biased_down_write(&sem, area)
			     : biased_down_read(&sem, area)));
	return area;
}

static void up(void)
{
	biased_up(&sem, this_percpu(&object));
}

static enum rwsem_held held(void)
{
	return this_percpu(&object)->i_rwsem_held;
}

static void take(int mode)
{
	down(mode);
	up();
}

static void take_n(int mode, unsigned int n)
{
	while (n--)
		take(mode);
}

static void body_write(void *arg)
{
	take(WRITE);
	if (arg)
		*(bool *)arg = true;
}

static void body_read(void *arg)
{
	take(READ);
	if (arg)
		*(bool *)arg = true;
}

static void in_thread(void (*body)(void *arg))
{
	struct step step;

	step_start(&step, body, NULL, STEP_NOWHERE);
	step_join(&step);
}

/* ---- who has the bias ------------------------------------------------------------ */

/* The first who comes, whichever way, and for both ways. */
static void first_comer(void)
{
	for (int mode = READ; mode <= WRITE; mode++) {
		lock_begin();
		take(mode);
		CHECK(sem.bias == (uintptr_t)this_percpu(&object));
		down(READ);
		EQ(held(), RWSEM_BIASED);
		up();
		down(WRITE);
		EQ(held(), RWSEM_BIASED);
		up();
		EQ(held(), RWSEM_FREE);
		lock_end();
	}
}

static void second_comer_takes_it_away(void)
{
	void (*const bodies[])(void *arg) = { body_read, body_write };

	for (int i = 0; i < 2; i++) {
		lock_begin();
		take(WRITE);
		in_thread(bodies[i]);
		EQ(sem.bias, BIAS_NONE);
		down(WRITE);
		EQ(held(), RWSEM_PLAIN);
		up();
		lock_end();
	}
}

/* Again to who takes it often in a row, and less easily each time. */
static void earned_again(void)
{
	lock_begin();
	take(WRITE);
	for (unsigned int patience = 64; patience < 1024; patience *= 2) {
		in_thread(body_write);
		EQ(sem.patience, patience);
		take_n(WRITE, patience);
		EQ(sem.bias, BIAS_NONE);
		take(WRITE);
		CHECK(sem.bias == (uintptr_t)this_percpu(&object));
	}
	lock_end();
}

static void body_read_many(void *arg)
{
	(void)arg;
	take_n(READ, 40);
}

/* Nobody reads often in a row, all do together. */
static void readers_earn_it(void)
{
	lock_begin();
	take(READ);
	for (int i = 0; i < 3; i++) {
		in_thread(body_read_many);
		take_n(READ, 20);
	}
	EQ(sem.bias, BIAS_READERS);
	down(READ);
	EQ(held(), RWSEM_BIASED);
	in_thread(body_read);		/* beside it */
	up();
	down(WRITE);
	EQ(held(), RWSEM_PLAIN);
	EQ(sem.bias, BIAS_NONE);
	up();
	lock_end();
}

static void nobody_in_a_child(void)
{
	lock_begin();
	take(WRITE);
	biased_rwsem_set_stale(&sem);
	CHECK(!biased_trydown(&sem, this_percpu(&object), false));
	CHECK(!biased_trydown(&sem, this_percpu(&object), true));
	EQ(held(), RWSEM_FREE);
	lock_end();
}

/* ---- interleavings ------------------------------------------------------------------ */

/* Let the readers have the bias, and nobody patience. */
static void lean_to_readers(void)
{
	lock_begin();
	take(READ);
	sem.bias = BIAS_READERS;
}

static void wait_until_it_has(struct step *step, uintptr_t bias)
{
	while (READ_ONCE(sem.bias) != bias)
		sched_yield();
	(void)step;
}

/* A holder by the bias keeps out who takes it away, and wakes him when he sleeps. */
static void holder_keeps_revoker_out(int mode, void (*body)(void *arg))
{
	bool passed = false;
	struct step step;

	if (mode == READ)
		lean_to_readers();
	else
		lock_begin();
	take(mode);
	down(mode);
	EQ(held(), RWSEM_BIASED);
	step_start(&step, body, &passed, DAX_TEST_BIAS_WAIT);
	MUST(step_parked(&step));	/* about to sleep */
	EQ(sem.bias, BIAS_NONE);
	CHECK(!passed);
	step_go(&step, STEP_NOWHERE);
	for (int i = 0; i < 200 && !step_finished(&step); i++)
		sched_yield();
	CHECK(!step_finished(&step));
	up();
	step_join(&step);
	CHECK(passed);
	lock_end();
}

static void writer_waits_for_owner(void)
{
	holder_keeps_revoker_out(WRITE, body_write);
}

static void reader_waits_for_owner(void)
{
	holder_keeps_revoker_out(WRITE, body_read);
}

static void writer_waits_for_readers(void)
{
	holder_keeps_revoker_out(READ, body_write);
}

static int order;
static int writer_at, reader_at;

static void body_read_order(void *arg)
{
	(void)arg;
	down(READ);
	reader_at = ++order;
	up();
}

static void body_write_order(void *arg)
{
	(void)arg;
	down(WRITE);
	writer_at = ++order;
	up();
}

/* Who has announced itself and finds the bias gone steps back: the revoker, who
 * sleeps for it by then, goes first. */
static void announced_too_late(void)
{
	struct step reader, writer;

	lean_to_readers();
	order = 0;
	step_start(&reader, body_read_order, NULL, DAX_TEST_BIAS_ANNOUNCED);
	MUST(step_parked(&reader));
	step_start(&writer, body_write_order, NULL, DAX_TEST_BIAS_WAIT);
	MUST(step_parked(&writer));
	step_go(&writer, STEP_NOWHERE);
	step_go(&reader, STEP_NOWHERE);
	step_join(&writer);
	step_join(&reader);
	EQ(writer_at, 1);
	EQ(reader_at, 2);
	lock_end();
}

/* The same for the owner. */
static void body_take_twice(void *arg)
{
	take(WRITE);		/* the bias is this thread's */
	body_write_order(arg);
}

static void owner_announced_too_late(void)
{
	struct step owner, reader;

	lock_begin();
	order = 0;
	step_start(&owner, body_take_twice, NULL, DAX_TEST_BIAS_ANNOUNCED);
	MUST(step_parked(&owner));
	step_start(&reader, body_read_order, NULL, DAX_TEST_BIAS_WAIT);
	MUST(step_parked(&reader));
	step_go(&reader, STEP_NOWHERE);
	step_go(&owner, STEP_NOWHERE);
	step_join(&reader);
	step_join(&owner);
	EQ(reader_at, 1);
	EQ(writer_at, 2);
	lock_end();
}

/* With the bias of another, a read does not get in beside him: it takes the bias
 * away although the plain lock was free to be shared. */
static void turns(void)
{
	struct step writer, reader;

	lean_to_readers();
	order = 0;
	down(READ);
	step_start(&writer, body_write_order, NULL, STEP_NOWHERE);
	wait_until_it_has(&writer, BIAS_NONE);
	step_start(&reader, body_read_order, NULL, STEP_NOWHERE);
	for (int i = 0; i < 2000 && !step_finished(&reader); i++)
		sched_yield();
	CHECK(!step_finished(&reader));	/* behind the writer */
	up();
	step_join(&writer);
	step_join(&reader);
	EQ(writer_at, 1);
	EQ(reader_at, 2);
	lock_end();
}

/* ---- at random ----------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 20000 };

static uint64_t guarded[2];	/* plain: equal whenever nobody writes */
static pthread_barrier_t all_here;

/* Runs of its own for each thread, so that the bias comes and goes. */
static void *any_of_it(void *arg)
{
	uint32_t x = (uint32_t)(uintptr_t)arg * 2654435761u + 1;
	uint64_t torn = 0;

	pthread_barrier_wait(&all_here);
	for (int i = 0; i < ROUNDS; i++) {
		x = x * 1664525 + 1013904223;
		if ((x >> 20) % 64 == 0)
			sem.patience = 0;	/* a hint: any value will do */
		if ((x >> 16) % 8 == 0) {
			down(WRITE);
			guarded[0]++;
			guarded[1]++;
		} else {
			down(READ);
			torn += guarded[0] != guarded[1];
		}
		up();
	}
	return (void *)(uintptr_t)torn;
}

static void excludes(void)
{
	for (int i = 0; i < 2; i++) {
		pthread_t thread[THREADS];
		void *torn;

		dax_test.no_membarrier = i;
		guarded[0] = guarded[1] = 0;
		lock_begin();
		pthread_barrier_init(&all_here, NULL, THREADS);
		for (uintptr_t t = 0; t < THREADS; t++)
			MUST(!pthread_create(&thread[t], NULL, any_of_it, (void *)t));
		for (int t = 0; t < THREADS; t++) {
			pthread_join(thread[t], &torn);
			EQ((uintptr_t)torn, 0);
		}
		EQ(guarded[0], guarded[1]);
		pthread_barrier_destroy(&all_here);
		lock_end();
	}
	dax_test.no_membarrier = false;
}

int main(void)
{
	dax_test.yield = step_yield;
	plan(12);
	run("the first who comes has the bias", first_comer);
	run("the second takes it away", second_comer_takes_it_away);
	run("it is earned again", earned_again);
	run("readers earn it together", readers_earn_it);
	run("nobody has it in a child", nobody_in_a_child);
	run("a writer waits for the owner", writer_waits_for_owner);
	run("a reader waits for the owner", reader_waits_for_owner);
	run("a writer waits for readers", writer_waits_for_readers);
	run("announced too late", announced_too_late);
	run("announced too late by the owner", owner_announced_too_late);
	run("readers wait their turn", turns);
	run("writers exclude everybody", excludes);
	return done();
}
