/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * oom.h -- make every allocation fail in turn
 *
 *	OOM_LOOP(n) {
 *		oom_fail_nth(n);
 *		ret = something();
 *		oom_clear();
 *		if (!oom_fired())
 *			break;		(all allocations were granted)
 *		EQ(ret, -ENOMEM);
 *	}
 *	CHECK(oom_rounds() > 0);	(something() does allocate)
 *
 * One allocation fails, those after it succeed; with oom_fail_from(n) they
 * fail too.  Counted over all threads.
 */
#ifndef OOM_H
#define OOM_H

#include "tap.h"
#include "test_hooks.h"

/* No operation under test allocates this often. */
enum { OOM_MAX = 20000 };

static _Atomic unsigned int oom_left;	/* allocations until the one that fails */
static _Atomic bool oom_hit;
static bool oom_for_good;
static unsigned int oom_nr_rounds;

static inline bool oom_hook(size_t size)
{
	(void)size;
	if (!oom_left)
		return oom_for_good && oom_hit;
	if (--oom_left)
		return false;
	oom_hit = true;
	oom_nr_rounds++;
	return true;
}

/* The @n-th allocation from now on fails, counted from 1. */
static inline void oom_fail_nth(unsigned int n)
{
	if (n == 1)
		oom_nr_rounds = 0;
	oom_left = n;
	oom_hit = false;
	oom_for_good = false;
	dax_test.fail_alloc = oom_hook;
}

/* The @n-th allocation from now on and all after it fail. */
static inline void oom_fail_from(unsigned int n)
{
	oom_fail_nth(n);
	oom_for_good = true;
}

static inline void oom_clear(void)
{
	dax_test.fail_alloc = NULL;
	oom_left = 0;
}

/* Did one fail since oom_fail_nth()? */
static inline bool oom_fired(void)
{
	return oom_hit;
}

/* How many have failed since oom_fail_nth(1). */
static inline unsigned int oom_rounds(void)
{
	return oom_nr_rounds;
}

static inline bool oom_go_on(unsigned int n)
{
	MUST(n < OOM_MAX);
	return true;
}

#define OOM_LOOP(n) for (unsigned int n = 1; oom_go_on(n); n++)

#endif
