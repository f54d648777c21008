/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * move.h -- bytes from one place to another, a few KiB at a time
 *
 * As memcpy() and memset(), and for a piece of a page or a few with a loop of
 * our own where that is better.  glibc takes `rep movsb` for such pieces, which
 * runs as fast, but nothing runs beside it: the CPU begins with what comes before
 * and after when it is through.  A loop of vector instructions overlaps with it.
 *
 * Kernel: copy_user_generic() and its alternatives.
 */
#ifndef DAXCORE_MOVE_H
#define DAXCORE_MOVE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Pieces for which the loop is taken.  Below, glibc's own branches are as good;
 * above, what it does at the ends of a piece does not matter. */
enum { MOVE_LOOP_MIN = 512, MOVE_LOOP_MAX = 1 << 16 };

/* Both fit move_fn of copy_mc.h.  The places do not overlap. */
void move_bytes(void *to, const void *from, size_t n);
void zero_bytes(void *to, const void *unused, size_t n);

/* Of memory that nobody stores to meanwhile.  Kernel: mem_is_zero() (6.12). */
static inline bool mem_is_zero(const void *mem, size_t n)
{
	const char *bytes = mem;

	return !n || (!bytes[0] && !memcmp(bytes, bytes + 1, n - 1));
}

/* A loop of one kind of CPU; @n is MOVE_LOOP_MIN at least. */
struct move_ops {
	const char *name;
	void (*copy)(void *to, const void *from, size_t n);
	void (*zero)(void *to, size_t n);
};

/* What is used here; NULL: memcpy() and memset() alone. */
const struct move_ops *move_select(void);

#endif
