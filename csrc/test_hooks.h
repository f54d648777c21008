/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_hooks.h -- where tests may step in (builds with DAX_TEST only)
 *
 * Release builds compile every hook to nothing.  In a test build a program
 * sets the pointers of dax_test; they are read without synchronisation, so
 * set them before threads start.
 */
#ifndef DAXCORE_TEST_HOOKS_H
#define DAXCORE_TEST_HOOKS_H

#include <stdbool.h>
#include <stddef.h>

/* Named places at which an interleaving can be forced. */
enum dax_test_point {
	DAX_TEST_GRAB_PREALLOC,		/* nodes ready, slot not yet looked at again */
	DAX_TEST_BEFORE_SLEEP,		/* queued, about to sleep for an entry */
	DAX_TEST_WOKEN,			/* woken, about to look again */
	DAX_TEST_AFTER_GRAB,		/* entry locked, block map not asked */
	DAX_TEST_AFTER_IOMAP,		/* block map asked, tree not changed */
	DAX_TEST_UNMAP_REPLACE,		/* old leaves gone, tree not changed */
	DAX_TEST_TREE_REPLACED,		/* tree changed, leaf not inserted */
	DAX_TEST_BEFORE_UNLOCK,		/* fault done, entry still locked */
	DAX_TEST_DOWNGRADE,		/* PMD unmapped, node not published */
	DAX_TEST_INVALIDATE_LOCKED,	/* delete holds the entry */
	DAX_TEST_RWSEM_READ,		/* reader announced, state not read */
	DAX_TEST_BIAS_ANNOUNCED,	/* i_rwsem announced by its bias, not had yet */
	DAX_TEST_BIAS_WAIT,		/* bias revoked, about to sleep for a holder */
	DAX_TEST_TAG_SETTLING,		/* child seen without tag, upper one still set */
	DAX_TEST_TAG_SETTLED,		/* upper tag fallen, child not looked at again */
	DAX_TEST_STORE_INSIDE,		/* soft store: leaf seen, no byte moved */
	DAX_TEST_SYNCHRONIZE_WAIT,	/* grace period: somebody is inside a frame */
	DAX_TEST_WRITEBACK_LOCKED,	/* entries locked, leaves not protected */
	DAX_TEST_WRITEBACK_PROTECTED,	/* leaves protected, nothing flushed */
	DAX_TEST_WRITEBACK_FLUSHED,	/* flushed, tags not cleared */
	DAX_TEST_WRITEBACK_SYNC,	/* all flushed, medium not synced */
	DAX_TEST_TRACE_COPIED,		/* event copied, not yet known to be whole */
	DAX_TEST_UNSHARE_COPIED,	/* block copied, its word not switched */
	DAX_TEST_UNSHARED,		/* the block map changed, the old block not left */
	DAX_TEST_BLOCK_FOUND,		/* a block was found, who has it not looked at */
	DAX_TEST_FRAME_SEEN,		/* a frame was found, it is not pinned yet */
	DAX_TEST_FRAME_PINNED,		/* pinned, not looked at again */
	DAX_TEST_BEFORE_PIN_WAIT,	/* about to sleep until a pin is dropped */
	DAX_TEST_FREEZING,		/* no writer is inside, nothing written back */
	DAX_TEST_FROZEN,		/* about to sleep for a thaw */
	DAX_TEST_PROMOTE,		/* lock dropped, to be taken exclusive */
	DAX_TEST_PIECE_GONE,		/* real: a piece went, its place is empty or closed */
	DAX_TEST_ZEROES_INSERTED,	/* real: zeroes inserted, not yet protected */
	DAX_TEST_FRAMES_MAPPED,		/* real: frames mapped, stores not yet found out */
	DAX_TEST_ZEROES_PROTECTED,	/* real: zeroes inserted and write-protected */
	DAX_TEST_SYNC_FAULT,		/* block map synced, leaf not inserted */
	DAX_TEST_AHEAD_UNMAPPED,	/* leaves gone, bytes not looked at again */
	DAX_TEST_NR_POINTS
};

/* Rules that can be taken out, to see the tests that prove them fail. */
enum dax_test_mutation {
	DAX_MUTATE_NONE,
	DAX_MUTATE_WAKE_ONE_ON_DELETE,
	DAX_MUTATE_NO_PASS_ON,
	DAX_MUTATE_WAKE_ONE_ON_DOWNGRADE,
	DAX_MUTATE_KEY_NOT_ROUNDED,
	DAX_MUTATE_NO_RECHECK,
	DAX_MUTATE_NO_PROTECT,
	DAX_MUTATE_PROTECT_LATE,
	DAX_MUTATE_NO_MKCLEAN,		/* real: what was flushed is not protected */
	DAX_MUTATE_TRACK_LATE		/* real: stores before protection are not seen */
};

struct dax_test_hooks {
	void (*yield)(enum dax_test_point point);
	bool (*fail_alloc)(size_t size);	/* true: this allocation fails */
	int (*fail_sys)(const char *name);	/* -errno: this system call fails */
	bool no_huge_zero;	/* as if there were no huge zero page */
	bool no_spin;		/* waiters sleep at once */
	bool no_membarrier;	/* as on a kernel without membarrier(2) */
	enum dax_test_mutation mutation;
};

#ifdef DAX_TEST
extern struct dax_test_hooks dax_test;

static inline void dax_test_yield(enum dax_test_point point)
{
	if (dax_test.yield)
		dax_test.yield(point);
}

static inline bool dax_test_fail_alloc(size_t size)
{
	return dax_test.fail_alloc && dax_test.fail_alloc(size);
}

static inline int dax_test_fail_sys(const char *name)
{
	return dax_test.fail_sys ? dax_test.fail_sys(name) : 0;
}

static inline bool dax_test_mutated(enum dax_test_mutation mutation)
{
	return dax_test.mutation == mutation;
}

static inline bool dax_test_no_huge_zero(void)
{
	return dax_test.no_huge_zero;
}

static inline bool dax_test_no_spin(void)
{
	return dax_test.no_spin;
}

static inline bool dax_test_no_membarrier(void)
{
	return dax_test.no_membarrier;
}
#else
#define dax_test_yield(point)		((void)0)
#define dax_test_fail_alloc(size)	false
#define dax_test_fail_sys(name)		0
#define dax_test_mutated(mutation)	false
#define dax_test_no_huge_zero()		false
#define dax_test_no_spin()		false
#define dax_test_no_membarrier()	false
#endif

#endif
