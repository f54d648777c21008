/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tap.h -- what the C tests say: TAP lines, exit 0, 1 or 77
 *
 * A program calls plan(n), then n times run("name", function); a function
 * checks with CHECK() and EQ(), which report and go on.  done() is main's
 * return value.  A watchdog ends a program that hangs.
 */
#ifndef TAP_H
#define TAP_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef TAP_PRINTF
#define TAP_PRINTF printf
#endif

static int tap_run, tap_planned, tap_failed, tap_bad;

static inline void plan(int n)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	alarm(200);	/* SIGALRM kills: a missed wake-up is a hang */
	tap_planned = n;
	printf("1..%d\n", n);
}

static inline void skip_all(const char *reason)
{
	printf("1..0 # SKIP %s\n", reason);
	exit(77);
}

static inline void run(const char *name, void (*test)(void))
{
	tap_bad = 0;
	test();
	printf("%s %d - %s\n", tap_bad ? "not ok" : "ok", ++tap_run, name);
	tap_failed += tap_bad != 0;
}

static inline int done(void)
{
	return tap_failed || tap_run != tap_planned;
}

#define CHECK(x)							\
	do {								\
		if (!(x)) {						\
			tap_bad++;					\
			TAP_PRINTF("# %s:%d: %s\n", __FILE__, __LINE__, #x); \
		}							\
	} while (0)

#define EQ(a, b)							\
	do {								\
		int64_t tap_a = (int64_t)(a), tap_b = (int64_t)(b);	\
		if (tap_a != tap_b) {					\
			tap_bad++;					\
			TAP_PRINTF("# %s:%d: %s is %" PRId64 ", not %s = %"	\
				   PRId64 "\n", __FILE__, __LINE__, #a, tap_a,	\
				   #b, tap_b);				\
		}							\
	} while (0)

/* For what must hold to go on at all. */
#define MUST(x)								\
	do {								\
		if (!(x)) {						\
			TAP_PRINTF("Bail out! %s:%d: %s\n", __FILE__,	\
				   __LINE__, #x);			\
			exit(1);					\
		}							\
	} while (0)

#endif
