/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flush.h -- write-back of CPU cache lines, chosen at run time
 *
 * Kernel: arch/x86/lib/usercopy_64.c, clean_cache_range() and
 * __memcpy_flushcache() (v4.14).
 */
#ifndef DAXCORE_FLUSH_H
#define DAXCORE_FLUSH_H

#include <stddef.h>

struct flush_ops {
	const char *name;	/* of the instruction */
	/* Write back the lines of [addr, addr + n); ordered by fence(). */
	void (*flush)(const void *addr, size_t n);
	/* Past the cache; what is not whole lines is stored and flushed. */
	void (*copy_nt)(void *to, const void *from, size_t n);
	void (*zero_nt)(void *to, size_t n);
	void (*fence)(void);
};

/*
 * The best this CPU has.  DAXCORE_FLUSH=clwb|clflushopt|clflush in the
 * environment chooses another.  NULL: no instruction is known for this CPU, and
 * no medium can be taken to be persistent memory.
 */
const struct flush_ops *flush_select(void);

/*
 * Before a medium is taken to be persistent memory: is it what was asked for?
 * 0; -EOPNOTSUPP: there is none; -EINVAL: DAXCORE_FLUSH names one that this CPU
 * has not.
 */
int flush_check(void);

/* What one architecture has, the best first, NULL at the end. */
extern const struct flush_ops *const flush_variants[];

/* Has this CPU variant @ops? */
int flush_present(const struct flush_ops *ops);

#endif
