/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * biased_rwsem.c -- a reader-writer lock that leans towards who uses it
 *
 * Owns: nothing; a lock is part of a file.
 * Locks: the bias is given to a thread with the plain lock held exclusively, to
 *        readers with it held, and taken away with it held exclusively.  So who
 *        holds it shared meets no bias to a thread but one that was there before,
 *        and who holds it exclusively and has taken the bias away is alone.
 * Kernel: kernel/locking/rwsem.c and percpu-rwsem.c (v4.14).
 * Differs: as in percpu.c: areas belong to threads, the grace period is
 *          membarrier(2).
 */
#include "biased_rwsem.h"

/* How many times in a row earn the bias: the first is enough, then it doubles. */
enum { FIRST_PATIENCE = 64, LAST_PATIENCE = 1 << 16 };

void biased_init_rwsem(struct biased_rwsem *sem, struct percpu *percpu)
{
	sem->percpu = percpu;
	pthread_rwlock_init(&sem->plain, NULL);
}

void biased_fini_rwsem(struct biased_rwsem *sem)
{
	pthread_rwlock_destroy(&sem->plain);
}

void biased_rwsem_set_stale(struct biased_rwsem *sem)
{
	WRITE_ONCE(sem->bias, BIAS_NONE);
}

/* ---- taking the bias away ---------------------------------------------------- */

/* A revoker that saw the announcement may sleep. */
__cold void biased_step_back(struct biased_rwsem *sem, struct percpu_area *area)
{
	smp_store_release(&area->i_rwsem_held, RWSEM_FREE);
	smp_mb();
	atomic_fetch_add(&sem->drained, 1);
	futex_wake(&sem->drained, 1);
}

static void wait_for_holder(struct biased_rwsem *sem, struct percpu_area *area)
{
	uint32_t drained;

	for (;;) {
		for (int i = 0; i < 1000; i++) {
			if (smp_load_acquire(&area->i_rwsem_held) != RWSEM_BIASED)
				return;
			cpu_relax();
		}
		drained = atomic_load(&sem->drained);
		if (smp_load_acquire(&area->i_rwsem_held) != RWSEM_BIASED)
			return;
		dax_test_yield(DAX_TEST_BIAS_WAIT);
		futex_wait(&sem->drained, drained);
	}
}

static void lose_patience(struct biased_rwsem *sem)
{
	uint32_t patience = READ_ONCE(sem->patience);

	if (patience < FIRST_PATIENCE)
		patience = FIRST_PATIENCE;
	else if (patience < LAST_PATIENCE)
		patience *= 2;
	WRITE_ONCE(sem->patience, patience);
}

/* The plain lock held exclusively.  Returns when nobody is inside by the bias. */
static void revoke(struct biased_rwsem *sem)
{
	struct percpu_area *area;

	if (READ_ONCE(sem->bias) == BIAS_NONE)
		return;
	WRITE_ONCE(sem->bias, BIAS_NONE);
	asym_barrier_heavy();
	for (area = smp_load_acquire(&sem->percpu->areas); area; area = area->next)
		wait_for_holder(sem, area);
	lose_patience(sem);
}

/* ---- giving it ------------------------------------------------------------------- */

/* Count; has @area taken it often enough to have it for its own? */
static bool earns_bias(struct biased_rwsem *sem, const struct percpu_area *area)
{
	uint32_t nr = READ_ONCE(sem->last) == area ? READ_ONCE(sem->by_last) + 1 : 1;

	WRITE_ONCE(sem->last, area);
	WRITE_ONCE(sem->by_last, nr);
	return nr > READ_ONCE(sem->patience);
}

/* The plain lock held exclusively. */
static void own(struct biased_rwsem *sem, const struct percpu_area *area)
{
	revoke(sem);
	WRITE_ONCE(sem->by_last, 0);
	smp_store_release(&sem->bias, (uintptr_t)area);
}

/* The plain lock held shared.  Others may do the same. */
static void count_read(struct biased_rwsem *sem)
{
	uint32_t nr = READ_ONCE(sem->reads) + 1, patience = READ_ONCE(sem->patience);
	uintptr_t none = BIAS_NONE;

	WRITE_ONCE(sem->reads, nr);
	if (nr > (patience > FIRST_PATIENCE ? patience : FIRST_PATIENCE))
		atomic_compare_exchange_strong(&sem->bias, &none, BIAS_READERS);
}

/* ---- the plain lock ---------------------------------------------------------------- */

/*
 * It lets every reader in while there is one, so that reads that overlap would
 * keep a write out for ever: who comes after a writer that waits takes a turn
 * behind it.
 */
static int plain_down_read(struct biased_rwsem *sem)
{
	int ret;

	if (likely(!READ_ONCE(sem->writers)))
		return -pthread_rwlock_rdlock(&sem->plain);
	mutex_lock(&sem->turn);
	ret = pthread_rwlock_rdlock(&sem->plain);
	mutex_unlock(&sem->turn);
	return -ret;
}

/* With a bias there may be readers behind it: a turn as well. */
static int plain_down_write(struct biased_rwsem *sem)
{
	int ret;

	if (READ_ONCE(sem->bias) == BIAS_NONE &&
	    !pthread_rwlock_trywrlock(&sem->plain)) {
		revoke(sem);
		return 0;
	}
	atomic_fetch_add(&sem->writers, 1);
	mutex_lock(&sem->turn);
	ret = pthread_rwlock_wrlock(&sem->plain);
	if (!ret)
		revoke(sem);
	mutex_unlock(&sem->turn);
	atomic_fetch_sub(&sem->writers, 1);
	return -ret;
}

/* A thread that the lock leans towards may be inside with no lock of this kind:
 * then the lock is taken exclusively, for this once. */
static int plain_share(struct biased_rwsem *sem)
{
	int ret = plain_down_read(sem);

	if (ret)
		return ret;
	if (READ_ONCE(sem->bias) <= BIAS_READERS) {
		count_read(sem);
		return 0;
	}
	pthread_rwlock_unlock(&sem->plain);
	return plain_down_write(sem);
}

__cold int biased_down_read_plain(struct biased_rwsem *sem,
				  struct percpu_area *area)
{
	int ret = 0;

	if (READ_ONCE(sem->bias) == BIAS_NONE && earns_bias(sem, area) &&
	    !pthread_rwlock_trywrlock(&sem->plain))
		own(sem, area);
	else
		ret = plain_share(sem);
	if (!ret)
		WRITE_ONCE(area->i_rwsem_held, RWSEM_PLAIN);
	return ret;
}

__cold int biased_down_write_plain(struct biased_rwsem *sem,
				   struct percpu_area *area)
{
	int ret = plain_down_write(sem);

	if (ret)
		return ret;
	WRITE_ONCE(sem->reads, 0);
	if (earns_bias(sem, area))
		own(sem, area);
	WRITE_ONCE(area->i_rwsem_held, RWSEM_PLAIN);
	return 0;
}

__cold void biased_up_plain(struct biased_rwsem *sem, struct percpu_area *area)
{
	WRITE_ONCE(area->i_rwsem_held, RWSEM_FREE);
	pthread_rwlock_unlock(&sem->plain);
}
