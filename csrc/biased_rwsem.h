/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * biased_rwsem.h -- a reader-writer lock that leans towards who uses it
 *
 * Underneath is a plain rwlock.  Above it stands a word, the bias:
 *
 *   BIAS_NONE     everybody takes the plain lock
 *   BIAS_READERS  who reads says so in its own area, and has it; who writes
 *                 takes the plain lock, and the bias away
 *   an area       so does its thread, to read and to write; everybody else
 *                 takes the bias away first
 *
 * By the bias it costs two stores and two loads, no atomic read-modify-write, and
 * no line that two threads write.  To take the bias away costs a membarrier and a
 * walk over the areas: so it is given again only to whoever has taken the plain
 * lock many times in a row, and more often each time it was taken away.
 *
 * Kernel: rw_semaphore; the idea is BRAVO's (Dice and Kogan, 2019).
 */
#ifndef DAXCORE_BIASED_RWSEM_H
#define DAXCORE_BIASED_RWSEM_H

#include <pthread.h>

#include "percpu.h"

#define BIAS_NONE	((uintptr_t)0)
#define BIAS_READERS	((uintptr_t)1)

/* area->i_rwsem_held */
enum rwsem_held { RWSEM_FREE, RWSEM_BIASED, RWSEM_PLAIN };

struct biased_rwsem {
	_Atomic uintptr_t bias;		/* changed with the plain lock held */
	struct percpu *percpu;
	pthread_rwlock_t plain __aligned(FALSE_SHARING);
	_Atomic uint32_t writers;	/* who waits to write ... */
	struct mutex turn;		/* ... has this while he does */
	_Atomic uint32_t drained;	/* changed for a revoker that sleeps */

	/* who took the plain lock, and how often in a row; hints */
	_Atomic(const struct percpu_area *) last;
	_Atomic uint32_t by_last;
	_Atomic uint32_t reads;		/* by anybody, with no write in between */
	_Atomic uint32_t patience;	/* so many earn the bias */
};

void biased_init_rwsem(struct biased_rwsem *sem, struct percpu *percpu);
void biased_fini_rwsem(struct biased_rwsem *sem);

/* In a forked child: nobody gets it by the bias any more. */
void biased_rwsem_set_stale(struct biased_rwsem *sem);

int biased_down_read_plain(struct biased_rwsem *sem, struct percpu_area *area);
int biased_down_write_plain(struct biased_rwsem *sem, struct percpu_area *area);
void biased_step_back(struct biased_rwsem *sem, struct percpu_area *area);
void biased_up_plain(struct biased_rwsem *sem, struct percpu_area *area);

static inline bool bias_fits(const struct biased_rwsem *sem,
			     const struct percpu_area *area, bool write)
{
	uintptr_t bias = smp_load_acquire(&sem->bias);

	return likely(bias == (uintptr_t)area) || (!write && bias == BIAS_READERS);
}

/* By the bias, at once or not at all.  The thread does not hold it. */
static inline bool biased_trydown(struct biased_rwsem *sem,
				  struct percpu_area *area, bool write)
{
	if (unlikely(!bias_fits(sem, area, write)))
		return false;
	WRITE_ONCE(area->i_rwsem_held, RWSEM_BIASED);
	asym_barrier_light();
	dax_test_yield(DAX_TEST_BIAS_ANNOUNCED);
	if (likely(bias_fits(sem, area, write)))
		return true;
	biased_step_back(sem, area);
	return false;
}

/* The thread does not hold it.  0, or -errno of the plain lock. */
static inline int biased_down_read(struct biased_rwsem *sem,
				   struct percpu_area *area)
{
	return biased_trydown(sem, area, false) ? 0
						: biased_down_read_plain(sem, area);
}

static inline int biased_down_write(struct biased_rwsem *sem,
				    struct percpu_area *area)
{
	return biased_trydown(sem, area, true) ? 0
					       : biased_down_write_plain(sem, area);
}

static inline void biased_up(struct biased_rwsem *sem, struct percpu_area *area)
{
	if (unlikely(READ_ONCE(area->i_rwsem_held) == RWSEM_PLAIN)) {
		biased_up_plain(sem, area);
		return;
	}
	smp_store_release(&area->i_rwsem_held, RWSEM_FREE);
	asym_barrier_light();
	if (unlikely(READ_ONCE(sem->bias) == BIAS_NONE))
		biased_step_back(sem, area);	/* somebody waits for us */
}

#endif
