/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * step.h -- force an interleaving: park a thread at a named point, let it go
 *
 *   struct step a;
 *
 *   step_start(&a, body, arg, DAX_TEST_AFTER_GRAB);
 *   step_parked(&a);			it stands there now
 *   ...what the other thread does meanwhile...
 *   step_go(&a, STEP_NOWHERE);		let it go for good
 *   step_join(&a);
 *
 * A thread parks each time it comes to the point it is told; everybody else
 * passes.  Nothing here waits for time to pass: what does not come to its
 * point hangs, and the watchdog of tap.h ends the program.
 */
#ifndef STEP_H
#define STEP_H

#include <pthread.h>

#include "tap.h"
#include "test_hooks.h"

enum { STEP_NOWHERE = DAX_TEST_NR_POINTS };

struct step {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int point;		/* where to park */
	bool parked;
	bool finished;
	void (*body)(void *arg);
	void *arg;
};

static __thread struct step *step_self;

/* For dax_test.yield. */
static inline void step_yield(enum dax_test_point point)
{
	struct step *step = step_self;

	if (!step)
		return;
	pthread_mutex_lock(&step->lock);
	if (step->point == (int)point) {
		step->parked = true;
		pthread_cond_broadcast(&step->changed);
		while (step->parked)
			pthread_cond_wait(&step->changed, &step->lock);
	}
	pthread_mutex_unlock(&step->lock);
}

static inline void *step_main(void *arg)
{
	struct step *step = arg;

	step_self = step;
	step->body(step->arg);
	pthread_mutex_lock(&step->lock);
	step->finished = true;
	pthread_cond_broadcast(&step->changed);
	pthread_mutex_unlock(&step->lock);
	return NULL;
}

static inline void step_start(struct step *step, void (*body)(void *arg),
			      void *arg, int point)
{
	*step = (struct step){ .point = point, .body = body, .arg = arg };
	pthread_mutex_init(&step->lock, NULL);
	pthread_cond_init(&step->changed, NULL);
	MUST(!pthread_create(&step->thread, NULL, step_main, step));
}

/* Wait until it is parked; false: it came to its end instead. */
static inline bool step_parked(struct step *step)
{
	bool parked;

	pthread_mutex_lock(&step->lock);
	while (!step->parked && !step->finished)
		pthread_cond_wait(&step->changed, &step->lock);
	parked = step->parked;
	pthread_mutex_unlock(&step->lock);
	return parked;
}

/* Has it come to its end?  Does not wait. */
static inline bool step_finished(struct step *step)
{
	bool finished;

	pthread_mutex_lock(&step->lock);
	finished = step->finished;
	pthread_mutex_unlock(&step->lock);
	return finished;
}

/* Let it go, up to @point; it need not have come to the old one yet. */
static inline void step_go(struct step *step, int point)
{
	pthread_mutex_lock(&step->lock);
	step->point = point;
	step->parked = false;
	pthread_cond_broadcast(&step->changed);
	pthread_mutex_unlock(&step->lock);
}

static inline void step_join(struct step *step)
{
	MUST(!pthread_join(step->thread, NULL));
	pthread_cond_destroy(&step->changed);
	pthread_mutex_destroy(&step->lock);
}

/* Start a thread that must come to sleep for an entry: it is queued and has
 * looked once more.  When it is woken it goes on up to @point. */
static inline void step_start_asleep(struct step *step, void (*body)(void *arg),
				     void *arg, int point)
{
	step_start(step, body, arg, DAX_TEST_BEFORE_SLEEP);
	MUST(step_parked(step));
	step_go(step, point);
}

#endif
