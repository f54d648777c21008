/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rounds.h -- threads that do one operation each, meet, and look
 *
 *	rounds_run(nr, actors, nr_actors, check)
 *
 * All actors start a round together; when the last has come to its end check()
 * runs alone.  A continuous loop would hide what a round finds: a lost wake-up
 * or tag that a later operation heals.
 */
#ifndef ROUNDS_H
#define ROUNDS_H

#include <pthread.h>
#include <sched.h>

#include "compiler.h"
#include "tap.h"

enum { ROUNDS_MAX_ACTORS = 8 };

typedef void (*rounds_fn)(unsigned int round);

static struct rounds {
	_Atomic unsigned int started;	/* rounds begun */
	_Atomic unsigned int arrived;	/* actors at their start, all rounds */
	_Atomic unsigned int ended;	/* and at their end */
	unsigned int nr;
	rounds_fn actor[ROUNDS_MAX_ACTORS];
} rounds;

/* Spin a little: a round is shorter than a wake-up. */
static inline void rounds_wait(_Atomic unsigned int *word, unsigned int value)
{
	for (unsigned int i = 0; smp_load_acquire(word) < value; i++)
		if (i % 64 == 63)
			sched_yield();
		else
			cpu_relax();
}

static inline void *rounds_main(void *arg)
{
	rounds_fn *actor = arg;

	for (unsigned int round = 0; round < rounds.nr; round++) {
		rounds_wait(&rounds.started, round + 1);
		atomic_fetch_add(&rounds.arrived, 1);
		(*actor)(round);
		atomic_fetch_add(&rounds.ended, 1);
	}
	return NULL;
}

/* Hold a thread up for up to some 2^@bits pauses, differently in each round. */
static inline void rounds_delay(unsigned int round, unsigned int bits)
{
	unsigned int n = round * 2654435761u >> (32 - bits);

	while (n--)
		cpu_relax();
}

/* The first actor is the calling thread. */
static inline void rounds_run(unsigned int nr, const rounds_fn *actors,
			      unsigned int nr_actors, rounds_fn check)
{
	pthread_t thread[ROUNDS_MAX_ACTORS];

	MUST(nr_actors <= ROUNDS_MAX_ACTORS);
	rounds.nr = nr;
	rounds.started = rounds.arrived = rounds.ended = 0;
	for (unsigned int i = 0; i < nr_actors; i++)
		rounds.actor[i] = actors[i];
	for (unsigned int i = 1; i < nr_actors; i++)
		MUST(!pthread_create(&thread[i], NULL, rounds_main, &rounds.actor[i]));
	for (unsigned int round = 0; round < nr; round++) {
		smp_store_release(&rounds.started, round + 1);
		rounds_wait(&rounds.arrived, (nr_actors - 1) * (round + 1));
		actors[0](round);
		rounds_wait(&rounds.ended, (nr_actors - 1) * (round + 1));
		check(round);
		if (tap_bad) {
			printf("# in round %u\n", round);
			exit(1);
		}
	}
	for (unsigned int i = 1; i < nr_actors; i++)
		MUST(!pthread_join(thread[i], NULL));
}

#endif
