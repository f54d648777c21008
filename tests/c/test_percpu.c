/* SPDX-License-Identifier: BSD-3-Clause */
/* test_percpu.c -- counters of threads that come and go, and the lock */
#include "percpu.h"

#include <pthread.h>
#include <string.h>

#include "oom.h"
#include "step.h"
#include "tap.h"

enum { THREADS = 6, ROUNDS = 40000 };

/* ---- counters ------------------------------------------------------------------ */

static struct percpu object;

static unsigned int nr_areas(struct percpu *percpu)
{
	unsigned int nr = 0;

	for (struct percpu_area *a = percpu->areas; a; a = a->next)
		nr++;
	return nr;
}

static void *count(void *arg)
{
	struct percpu_area *area = this_percpu(&object);

	MUST(area && area == this_percpu(&object));
	for (uintptr_t i = 0; i < (uintptr_t)arg; i++)
		percpu_inc(area, DAX_STAT_PTE_FAULT);
	percpu_add(area, DAX_STAT_LOAD_HOLE, 5);
	return NULL;
}

static void run_threads(void *(*body)(void *), void *arg)
{
	pthread_t thread[THREADS];

	for (int i = 0; i < THREADS; i++)
		MUST(!pthread_create(&thread[i], NULL, body, arg));
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

static void sums(void)
{
	memset(&object, 0, sizeof(object));
	MUST(!percpu_init(&object));
	EQ(percpu_sum(&object, DAX_STAT_PTE_FAULT), 0);
	run_threads(count, (void *)1000);
	EQ(percpu_sum(&object, DAX_STAT_PTE_FAULT), THREADS * 1000);
	EQ(percpu_sum(&object, DAX_STAT_LOAD_HOLE), THREADS * 5);
	EQ(percpu_sum(&object, DAX_STAT_PMD_FAULT), 0);
	percpu_fini(&object);
}

/* Threads that have gone leave their counts; their areas serve new ones. */
static void reuse(void)
{
	memset(&object, 0, sizeof(object));
	MUST(!percpu_init(&object));
	for (int i = 0; i < 50; i++) {
		pthread_t thread;

		MUST(!pthread_create(&thread, NULL, count, (void *)10));
		pthread_join(thread, NULL);
	}
	EQ(nr_areas(&object), 1);
	EQ(percpu_sum(&object, DAX_STAT_PTE_FAULT), 500);
	count((void *)1);	/* this thread takes it over */
	EQ(nr_areas(&object), 1);
	run_threads(count, (void *)1);
	CHECK(nr_areas(&object) <= 1 + THREADS);
	EQ(percpu_sum(&object, DAX_STAT_PTE_FAULT), 501 + THREADS);
	percpu_fini(&object);
}

/* More objects than the thread's cache has places: each keeps its area. */
static void many_objects(void)
{
	struct percpu many[3 * PERCPU_CACHE] = { { .id = 0 } };
	struct percpu_area *area[3 * PERCPU_CACHE];

	for (int i = 0; i < 3 * PERCPU_CACHE; i++) {
		MUST(!percpu_init(&many[i]));
		area[i] = this_percpu(&many[i]);
		MUST(area[i]);
		percpu_add(area[i], 0, (uint64_t)i);
	}
	for (int i = 0; i < 3 * PERCPU_CACHE; i++) {
		CHECK(this_percpu(&many[i]) == area[i]);
		EQ(percpu_sum(&many[i], 0), i);
		EQ(nr_areas(&many[i]), 1);
		for (int j = 0; j < i; j++)
			CHECK(many[i].id != many[j].id);
	}
	for (int i = 0; i < 3 * PERCPU_CACHE; i++)
		percpu_fini(&many[i]);
}

/* A new object at an old one's place does not get its area. */
static void same_address(void)
{
	for (int i = 0; i < 3; i++) {
		memset(&object, 0, sizeof(object));
		MUST(!percpu_init(&object));
		count((void *)7);
		EQ(percpu_sum(&object, DAX_STAT_PTE_FAULT), 7);
		percpu_fini(&object);
	}
}

static void no_memory(void)
{
	memset(&object, 0, sizeof(object));
	MUST(!percpu_init(&object));
	oom_fail_nth(1);
	CHECK(!this_percpu(&object));
	oom_clear();
	CHECK(oom_fired());
	CHECK(this_percpu(&object));	/* not for good */
	percpu_fini(&object);
}

/* ---- the lock -------------------------------------------------------------------- */

static struct percpu_rwsem sem;
static uint64_t guarded[2];	/* plain: equal whenever nobody writes */
static _Atomic uint64_t nr_reads;

static void lock_begin(void)
{
	memset(&object, 0, sizeof(object));
	memset(&sem, 0, sizeof(sem));
	MUST(!percpu_init(&object));
	percpu_init_rwsem(&sem, &object);
}

static pthread_barrier_t all_here;

static void *read_or_write(void *arg)
{
	unsigned int every = (unsigned int)(uintptr_t)arg;
	struct percpu_area *area = this_percpu(&object);
	unsigned int torn = 0;

	pthread_barrier_wait(&all_here);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		if (i % every == 0) {
			MUST(!percpu_down_write(&sem));
			guarded[0]++;
			guarded[1]++;
			percpu_up_write(&sem);
			continue;
		}
		MUST(!percpu_down_read(&sem, area));
		torn += guarded[0] != guarded[1];
		percpu_up_read(&sem, area);
		nr_reads++;
	}
	MUST(!torn);
	return NULL;
}

static void exclusion_with(unsigned int every)
{
	uint64_t writes = THREADS * ((ROUNDS + every - 1) / every);

	lock_begin();
	guarded[0] = guarded[1] = nr_reads = 0;
	pthread_barrier_init(&all_here, NULL, THREADS);
	run_threads(read_or_write, (void *)(uintptr_t)every);
	EQ(guarded[0], writes);
	EQ(guarded[1], writes);
	EQ(nr_reads, THREADS * (uint64_t)ROUNDS - writes);
	EQ(sem.state, PERCPU_RWSEM_READERS);
	percpu_fini(&object);
}

static void exclusion(void)
{
	exclusion_with(64);
	exclusion_with(7);
}

static void exclusion_without_membarrier(void)
{
	bool had = sys_has_membarrier;

	dax_test.no_membarrier = true;
	sys_has_membarrier = false;
	exclusion_with(64);
	exclusion_with(7);
	sys_has_membarrier = had;
	dax_test.no_membarrier = false;
}

/* A reader that has announced itself just as the writer comes. */
static _Atomic int stage;

static void *late_writer(void *arg)
{
	(void)arg;
	MUST(!percpu_down_write(&sem));
	stage = 2;
	guarded[0]++;
	percpu_up_write(&sem);
	return NULL;
}

static void pause_reader(enum dax_test_point point)
{
	if (point != DAX_TEST_RWSEM_READ || stage != 0)
		return;
	stage = 1;
	while (sem.state != PERCPU_RWSEM_WRITER)
		sched_yield();
}

/* The writer came between the reader's announcement and its look at the
 * state: the reader steps back, waits, and sees what was written. */
static void reader_meets_writer(void)
{
	struct percpu_area *area;
	pthread_t thread;

	lock_begin();
	area = this_percpu(&object);
	guarded[0] = stage = 0;
	dax_test.yield = pause_reader;
	MUST(!pthread_create(&thread, NULL, late_writer, NULL));
	EQ(percpu_down_read(&sem, area), 0);
	EQ(stage, 2);
	EQ(guarded[0], 1);
	percpu_up_read(&sem, area);
	pthread_join(thread, NULL);
	dax_test.yield = NULL;
	percpu_fini(&object);
}

/* A writer waits for the reader that was there first. */
static void writer_waits(void)
{
	struct percpu_area *area;
	pthread_t thread;

	lock_begin();
	area = this_percpu(&object);
	guarded[0] = 0;
	stage = 1;
	MUST(!percpu_down_read(&sem, area));
	MUST(!pthread_create(&thread, NULL, late_writer, NULL));
	while (sem.state != PERCPU_RWSEM_WRITER)
		sched_yield();
	for (int i = 0; i < 1000; i++)
		sched_yield();
	EQ(stage, 1);
	percpu_up_read(&sem, area);
	pthread_join(thread, NULL);
	EQ(stage, 2);
	percpu_fini(&object);
}

static void deadlock_refused(void)
{
	struct percpu_area *area;

	lock_begin();
	area = this_percpu(&object);
	CHECK(!percpu_is_writer(&sem));
	EQ(percpu_down_read(&sem, area), 0);
	EQ(percpu_down_read(&sem, area), -EDEADLK);
	EQ(percpu_down_write(&sem), -EDEADLK);
	percpu_up_read(&sem, area);
	EQ(percpu_down_write(&sem), 0);
	CHECK(percpu_is_writer(&sem));
	EQ(percpu_down_write(&sem), -EDEADLK);
	EQ(percpu_down_read(&sem, area), -EDEADLK);
	percpu_up_write(&sem);
	CHECK(!percpu_is_writer(&sem));
	EQ(percpu_down_read(&sem, area), 0);	/* nothing was left behind */
	percpu_up_read(&sem, area);
	EQ(percpu_down_write(&sem), 0);
	percpu_up_write(&sem);
	percpu_fini(&object);
}

static void stale(void)
{
	struct percpu_area *area;

	lock_begin();
	area = this_percpu(&object);
	percpu_rwsem_set_stale(&sem);
	EQ(percpu_down_read(&sem, area), -ESTALE);
	EQ(percpu_down_read(&sem, area), -ESTALE);
	EQ(percpu_down_write(&sem), -ESTALE);
	EQ(area->reading, 0);
	percpu_fini(&object);
}

/* ---- inside a frame -------------------------------------------------------------- */

static void access_body(void *arg)
{
	struct percpu_area *area = this_percpu(&object);

	percpu_access_begin(area);
	dax_test_yield(DAX_TEST_STORE_INSIDE);
	*(_Atomic int *)arg += 1;
	percpu_access_end(area);
	dax_test_yield(DAX_TEST_BEFORE_UNLOCK);
}

static void synchronize_body(void *arg)
{
	percpu_synchronize(&object);
	*(int *)arg = stage;
}

/* It waits for each of two who are inside, not for one who has left, and not
 * for one who came in later. */
static void synchronize_waits(void)
{
	struct step inside[2], left, later, waiter;
	int seen = -1;

	memset(&object, 0, sizeof(object));
	MUST(!percpu_init(&object));
	dax_test.yield = step_yield;
	stage = 0;
	percpu_synchronize(&object);	/* nobody was ever there */
	for (int i = 0; i < 2; i++) {
		step_start(&inside[i], access_body, &stage, DAX_TEST_STORE_INSIDE);
		MUST(step_parked(&inside[i]));
	}
	step_start(&left, access_body, &stage, DAX_TEST_BEFORE_UNLOCK);
	MUST(step_parked(&left));
	EQ(stage, 1);
	step_start(&waiter, synchronize_body, &seen, DAX_TEST_SYNCHRONIZE_WAIT);
	MUST(step_parked(&waiter));
	step_start(&later, access_body, &stage, DAX_TEST_STORE_INSIDE);
	MUST(step_parked(&later));
	step_go(&inside[1], STEP_NOWHERE);	/* it waits for the first it met */
	step_join(&inside[1]);
	step_go(&inside[0], STEP_NOWHERE);
	step_join(&inside[0]);
	step_go(&waiter, STEP_NOWHERE);
	step_join(&waiter);		/* though `later` is inside */
	EQ(seen, 3);
	step_go(&later, STEP_NOWHERE);
	step_join(&later);
	step_go(&left, STEP_NOWHERE);
	step_join(&left);
	dax_test.yield = NULL;
	percpu_fini(&object);
}

/* The property: what was true of a word when it was taken away is true of who
 * comes in after the grace period.  Guarded data, no atomics: TSan and the sum
 * see a reader that was not waited for. */
static _Atomic(volatile int *) shown;
static _Atomic bool stop;
static _Atomic int nr_started;
static volatile int value[2];

struct looks {
	uint64_t good, bad;
};

static void *access_often(void *arg)
{
	struct percpu_area *area = this_percpu(&object);
	struct looks *looks = arg;

	atomic_fetch_add(&nr_started, 1);
	while (!READ_ONCE(stop)) {
		volatile int *at;

		percpu_access_begin(area);
		at = smp_load_acquire(&shown);
		for (int i = 0; at && i < 50; i++)
			*(*at == 1 ? &looks->good : &looks->bad) += 1;
		percpu_access_end(area);
	}
	return NULL;
}

/* What nobody sees any more is changed; were somebody inside, he would see it. */
static void take_away(int rounds)
{
	for (int i = 0; i < rounds; i++) {
		smp_store_release(&shown, NULL);
		percpu_synchronize(&object);
		value[i & 1] = 2;	/* nobody looks */
		for (int j = 0; j < 50; j++)
			cpu_relax();
		value[i & 1] = 1;
		smp_store_release(&shown, &value[(i + 1) & 1]);
	}
}

/* @wait: until the threads are there; else they come while it goes on. */
static void grace_period_rounds(int rounds, bool wait)
{
	struct looks looks[2] = { { 0 } };
	pthread_t thread[2];

	memset(&object, 0, sizeof(object));
	MUST(!percpu_init(&object));
	stop = false;
	nr_started = 0;
	value[0] = value[1] = 1;
	shown = &value[0];
	for (int i = 0; i < 2; i++)
		MUST(!pthread_create(&thread[i], NULL, access_often, &looks[i]));
	while (wait && READ_ONCE(nr_started) < 2)
		sys_yield();
	take_away(rounds);
	while (READ_ONCE(nr_started) < 2)
		take_away(1);
	take_away(rounds);
	stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	EQ(looks[0].bad + looks[1].bad, 0);
	CHECK(!wait || looks[0].good + looks[1].good > 0);
	percpu_fini(&object);
}

static void grace_periods(void)
{
	grace_period_rounds(20000, true);
}

/* Alone at first, then not. */
static void grace_periods_beside_newcomers(void)
{
	for (int i = 0; i < 300; i++)
		grace_period_rounds(20, false);
}

int main(void)
{
	plan(15);
	run("counters are summed over threads", sums);
	run("areas of threads that have gone are used again", reuse);
	run("more objects than the thread's cache holds", many_objects);
	run("a new object at the address of an old one", same_address);
	run("no memory for an area", no_memory);
	run("writers exclude readers and each other", exclusion);
	run("the same without membarrier", exclusion_without_membarrier);
	run("a reader that meets a writer half way", reader_meets_writer);
	run("a writer waits for the reader that is inside", writer_waits);
	run("who holds it already is refused, both ways", deadlock_refused);
	run("stale for good after fork", stale);
	run("a grace period waits for who is inside", synchronize_waits);
	run("20000 grace periods", grace_periods);
	run("grace periods while threads come", grace_periods_beside_newcomers);
	run("counters again, after the locks", sums);
	return done();
}
