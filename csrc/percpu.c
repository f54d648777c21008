/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * percpu.c -- per-thread areas of an object, and a lock built on them
 *
 * Owns: the registry of all objects, the areas, the thread's cache.
 * Locks: registry (list of objects, thread exit) is outside percpu->lock.
 *        A writer holds sem->writer from down_write to up_write.
 * Kernel: lib/percpu_counter.c, kernel/locking/percpu-rwsem.c (v4.14).
 * Differs: areas belong to threads; the grace period is membarrier(2).
 */
#include "percpu.h"

#include <pthread.h>
#include <string.h>

__thread struct percpu_cache percpu_cache[PERCPU_CACHE];

static struct mutex registry;
static struct percpu *registered;
static _Atomic uint64_t last_id;
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static int exit_key_error;

/* A thread is known by the address of its cache: unique while it lives. */
static const void *this_thread(void)
{
	return percpu_cache;
}

/* Thread exit: its areas keep their counts and wait for another thread.  What
 * the thread remembers of them goes too: destructors of others may follow
 * this one and come back. */
static void release_areas(void *thread)
{
	struct percpu_area *area;

	memset(percpu_cache, 0, sizeof(percpu_cache));

	mutex_lock(&registry);
	for (struct percpu *p = registered; p; p = p->registered)
		for (area = smp_load_acquire(&p->areas); area; area = area->next)
			if (READ_ONCE(area->owner) == thread)
				smp_store_release(&area->owner, NULL);
	mutex_unlock(&registry);
}

static void make_exit_key(void)
{
	exit_key_error = pthread_key_create(&exit_key, release_areas);
}

void percpu_fork_prepare(void)
{
	mutex_lock(&registry);
}

void percpu_fork_done(void)
{
	mutex_unlock(&registry);
}

void percpu_fork_child(void)
{
	for (struct percpu *p = registered; p; p = p->registered)
		mutex_reset(&p->lock);
}

struct percpu_area *percpu_find_area(struct percpu *percpu)
{
	struct percpu_area *area = smp_load_acquire(&percpu->areas);

	while (area && READ_ONCE(area->owner) != this_thread())
		area = area->next;
	return area;
}

int percpu_init(struct percpu *percpu)
{
	pthread_once(&exit_once, make_exit_key);
	if (exit_key_error)
		return -ENOMEM;
	percpu->id = atomic_fetch_add(&last_id, 1) + 1;
	mutex_lock(&registry);
	percpu->registered = registered;
	registered = percpu;
	mutex_unlock(&registry);
	return 0;
}

void percpu_fini(struct percpu *percpu)
{
	struct percpu **link = &registered;
	struct percpu_area *area = percpu->areas;

	mutex_lock(&registry);
	while (*link != percpu)
		link = &(*link)->registered;
	*link = percpu->registered;
	mutex_unlock(&registry);
	while (area) {
		struct percpu_area *next = area->next;

		dax_free(area);
		area = next;
	}
}

/* percpu->lock held: the thread's own area, or one whose thread has gone and
 * which holds no lock. */
static struct percpu_area *find_area(struct percpu *percpu, const void *thread)
{
	struct percpu_area *area;

	for (area = READ_ONCE(percpu->areas); area; area = area->next)
		if (READ_ONCE(area->owner) == thread)
			return area;
	for (area = READ_ONCE(percpu->areas); area; area = area->next)
		if (!smp_load_acquire(&area->owner) &&
		    !smp_load_acquire(&area->reading))
			return area;
	return NULL;
}

__cold struct percpu_area *percpu_area_slow(struct percpu *percpu)
{
	struct percpu_cache *c = &percpu_cache[percpu->id % PERCPU_CACHE];
	struct percpu_area *area;

	if (pthread_setspecific(exit_key, this_thread()))
		return NULL;
	mutex_lock(&percpu->lock);
	area = find_area(percpu, this_thread());
	if (area) {
		WRITE_ONCE(area->owner, this_thread());
	} else {
		area = dax_zalloc_apart(sizeof(*area));
		if (area) {
			WRITE_ONCE(area->owner, this_thread());
			area->next = READ_ONCE(percpu->areas);
			smp_store_release(&percpu->areas, area);
		}
	}
	mutex_unlock(&percpu->lock);
	smp_mb();	/* pairs with the one in percpu_synchronize() */
	if (area)
		*c = (struct percpu_cache){ .id = percpu->id, .area = area };
	return area;
}

uint64_t percpu_sum(struct percpu *percpu, unsigned int stat)
{
	struct percpu_area *area;
	uint64_t sum = 0;

	for (area = smp_load_acquire(&percpu->areas); area; area = area->next)
		sum += READ_ONCE(area->count[stat]);
	return sum;
}

/* ---- inside a frame ------------------------------------------------------ */

static void wait_for_access(struct percpu_area *area)
{
	uint32_t seen = smp_load_acquire(&area->accessing);
	unsigned int rounds = 0;

	if (seen & 1)
		dax_test_yield(DAX_TEST_SYNCHRONIZE_WAIT);
	while (seen & 1 && smp_load_acquire(&area->accessing) == seen) {
		if (++rounds % 1024)
			cpu_relax();
		else
			sys_yield();	/* it was preempted inside */
	}
}

/*
 * Has no other thread ever used the object?  One that comes now publishes its
 * area before it looks at a leaf, with a full fence in between, as there is one
 * between the change of the leaf and this look: it is seen, or sees that.
 */
static bool is_alone(struct percpu *percpu)
{
	const struct percpu_area *area = smp_load_acquire(&percpu->areas);

	return !area || (!area->next && READ_ONCE(area->owner) == this_thread());
}

void percpu_synchronize(struct percpu *percpu)
{
	struct percpu_area *area;

	smp_mb();
	if (is_alone(percpu))
		return;
	asym_barrier_heavy();
	for (area = smp_load_acquire(&percpu->areas); area; area = area->next)
		wait_for_access(area);
}

/* ---- the lock --------------------------------------------------------- */

void percpu_init_rwsem(struct percpu_rwsem *sem, struct percpu *percpu)
{
	sem->percpu = percpu;
}

static void tell_writer(struct percpu_rwsem *sem)
{
	atomic_fetch_add(&sem->drained, 1);
	futex_wake(&sem->drained, 1);
}

__cold void percpu_up_read_slow(struct percpu_rwsem *sem)
{
	tell_writer(sem);
}

/* The thread has announced itself and met a writer: step back, wait, retry. */
__cold int percpu_down_read_slow(struct percpu_rwsem *sem,
				 struct percpu_area *area)
{
	uint32_t state;

	for (;;) {
		state = smp_load_acquire(&sem->state);
		if (state == PERCPU_RWSEM_READERS)
			return 0;
		smp_store_release(&area->reading, 0);
		if (state == PERCPU_RWSEM_STALE)
			return -ESTALE;
		if (percpu_is_writer(sem))
			return -EDEADLK;
		smp_mb();
		tell_writer(sem);
		futex_wait(&sem->state, PERCPU_RWSEM_WRITER);
		WRITE_ONCE(area->reading, 1);
		smp_mb();
	}
}

static void wait_for_reader(struct percpu_rwsem *sem, struct percpu_area *area)
{
	uint32_t drained;

	for (;;) {
		for (int i = 0; i < 1000; i++) {
			if (!smp_load_acquire(&area->reading))
				return;
			cpu_relax();
		}
		drained = atomic_load(&sem->drained);
		if (!smp_load_acquire(&area->reading))
			return;
		futex_wait(&sem->drained, drained);
	}
}

int percpu_down_write(struct percpu_rwsem *sem)
{
	struct percpu_area *area = this_percpu(sem->percpu);

	if (READ_ONCE(sem->state) == PERCPU_RWSEM_STALE)
		return -ESTALE;
	if ((area && READ_ONCE(area->reading)) ||
	    percpu_is_writer(sem))
		return -EDEADLK;
	mutex_lock(&sem->writer);
	WRITE_ONCE(sem->owner, this_thread());
	atomic_store(&sem->state, PERCPU_RWSEM_WRITER);
	asym_barrier_heavy();
	for (area = smp_load_acquire(&sem->percpu->areas); area; area = area->next)
		wait_for_reader(sem, area);
	return 0;
}

/* A child forked by a block map comes by here too: stale stays stale. */
void percpu_up_write(struct percpu_rwsem *sem)
{
	uint32_t writer = PERCPU_RWSEM_WRITER;

	WRITE_ONCE(sem->owner, NULL);
	if (!atomic_compare_exchange_strong(&sem->state, &writer,
					    PERCPU_RWSEM_READERS))
		return;
	futex_wake(&sem->state, INT32_MAX);
	mutex_unlock(&sem->writer);
}

bool percpu_is_writer(const struct percpu_rwsem *sem)
{
	return READ_ONCE(sem->owner) == this_thread();
}

void percpu_rwsem_set_stale(struct percpu_rwsem *sem)
{
	WRITE_ONCE(sem->state, PERCPU_RWSEM_STALE);
}
