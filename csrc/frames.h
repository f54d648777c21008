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

/* Around fork(): the table is whole in parent and child. */
void frames_fork_prepare(void);
void frames_fork_done(void);

#endif
