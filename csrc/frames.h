/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frames.h -- page frame numbers: which memory is meant
 *
 *   0 .. 2^28-1            reserved: the zero frames; PFN 0 is no frame
 *   k*2^28 .. (k+1)*2^28-1 a device, or a TiB of it
 *   2^51 + address/4096    host memory: private copies, page-cache pages
 *
 * A device gets its range when it is opened, so a PFN says which device it
 * is of, and translating one is an index and an addition.
 *
 * Each frame of a device has a word that says who needs it:
 *
 *   63            32  31   30               0
 *  +----------------+----+-------------------+
 *  |      pins      |LEFT|      shares       |
 *  +----------------+----+-------------------+
 *
 * shares: owners but one; an owner is a word of some file's block map.  pins:
 * who looks at the bytes whatever the block maps say.  LEFT: the last owner is
 * gone, the last pin frees the frame.  0 is what nearly all frames have: one
 * owner or none, nobody inside.
 *
 * Kernel: struct page of ZONE_DEVICE: _refcount and page->share (6.0).
 */
#ifndef DAXCORE_FRAMES_H
#define DAXCORE_FRAMES_H

#include "compiler.h"
#include "daxcore/types.h"

enum {
	FRAMES_RANGE_SHIFT = 28,	/* pages of a range: 1 TiB */
	FRAMES_NR_RANGES = 4096
};

#define DAX_PFN_HOST	(UINT64_C(1) << 51)

/* Base address of each range in use. */
extern _Atomic(char *) frames_base[FRAMES_NR_RANGES];

/* Set by the first share of the process, for good.  As long as it is not, no
 * frame ever moves from under a reader. */
extern _Atomic bool frames_ever_shared;

/* Device of each range in use. */
extern _Atomic(struct dax_device *) frames_device[FRAMES_NR_RANGES];

static inline void *pfn_to_kaddr(dax_pfn_t pfn)
{
	dax_pfn_t within = pfn & ((UINT64_C(1) << FRAMES_RANGE_SHIFT) - 1);

	if (unlikely(pfn & DAX_PFN_HOST))
		return (void *)(uintptr_t)((pfn ^ DAX_PFN_HOST) << DAX_PAGE_SHIFT);
	return smp_load_acquire(&frames_base[pfn >> FRAMES_RANGE_SHIFT]) +
	       (within << DAX_PAGE_SHIFT);
}

static inline dax_pfn_t host_pfn(const void *page)
{
	return ((uintptr_t)page >> DAX_PAGE_SHIFT) | DAX_PFN_HOST;
}

/* Is it a frame of a device (not a zero frame, not host memory)? */
static inline bool pfn_is_device(dax_pfn_t pfn)
{
	return pfn >> FRAMES_RANGE_SHIFT && !(pfn & DAX_PFN_HOST);
}

/* Device of a frame that pfn_is_device(). */
static inline struct dax_device *pfn_device(dax_pfn_t pfn)
{
	return smp_load_acquire(&frames_device[pfn >> FRAMES_RANGE_SHIFT]);
}

/* Give @nr_pages at @base a range.  0, or -ENFILE when all are in use. */
int frames_register(void *base, uint64_t nr_pages, dax_pfn_t *ret_pfn);
void frames_set_device(dax_pfn_t pfn, uint64_t nr_pages,
		       struct dax_device *dev);
void frames_unregister(dax_pfn_t pfn, uint64_t nr_pages);

/* ---- who needs a frame ----------------------------------------------------- */

/* The words of a device, which cost memory only where they were ever set. */
struct frame_table {
	_Atomic uint64_t *word;
	uint64_t nr;
};

#define FRAME_PIN	(UINT64_C(1) << 32)
#define FRAME_LEFT	(UINT64_C(1) << 31)
#define FRAME_SHARES	(FRAME_LEFT - 1)

/* 0 or -ENOMEM. */
int frame_table_init(struct frame_table *table, uint64_t nr);
void frame_table_fini(struct frame_table *table);

static inline uint64_t frame_word(const struct frame_table *table, uint64_t i)
{
	return smp_load_acquire(&table->word[i]);
}

static inline bool frame_is_shared(const struct frame_table *table, uint64_t i)
{
	return frame_word(table, i) & FRAME_SHARES;
}

static inline bool frame_is_pinned(const struct frame_table *table, uint64_t i)
{
	return frame_word(table, i) >= FRAME_PIN;
}

/* One owner more; the caller knows one who stays meanwhile. */
void frame_share(struct frame_table *table, uint64_t i);

/* One owner less.  Return: true if the frame is free now: nobody has it and
 * nobody is inside. */
bool frame_leave(struct frame_table *table, uint64_t i);

/* One pin more: from now on the frame is not freed.  The caller then looks
 * again whether the frame is what it thought. */
void frame_pin(struct frame_table *table, uint64_t i);

/* One pin less; wakes those who wait.  Return: true if the frame is free now. */
bool frame_unpin(struct frame_table *table, uint64_t i);

/*
 * Waiting until frames are not pinned any more:
 *
 *	uint32_t seen = frames_wait_begin();
 *	...look at the frames; if one is pinned, with no lock held:
 *	ret = frames_wait(seen);	an unpin since begin: at once
 *	frames_wait_end();
 *	...look again
 *
 * frames_wait() returns 0 or -EINTR: a signal handler ran.
 */
uint32_t frames_wait_begin(void);
int frames_wait(uint32_t seen);
void frames_wait_end(void);

/* Buffers that are pinned now, in all of the process: where there are none,
 * nobody needs to look for pinned frames. */
void frames_count_buffer(int n);
bool frames_any_buffer(void);

/* Around fork(): the table is whole in parent and child. */
void frames_fork_prepare(void);
void frames_fork_done(void);

#endif
