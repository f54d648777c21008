/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mapping.h -- one file: tree, size, block map, locks, the vmas that show it
 *
 * Locks, outer to inner (all of them: docs/locking.md):
 *   i_rwsem           shared: pread, extents; exclusive: pwrite, truncate,
 *                     punch, fallocate
 *   invalidate_lock   shared: faults, soft loads and stores, entries,
 *                     invalidation beside a pwrite; exclusive: truncate,
 *                     punch, fallocate, mmap, munmap, dontneed, growth of the
 *                     tree
 *   entry locks       entry_lock.h, one at a time per thread
 * The first two refuse with -EDEADLK a thread that holds them already.
 */
#ifndef DAXCORE_MAPPING_H
#define DAXCORE_MAPPING_H

#include <pthread.h>

#include "daxcore/types.h"
#include "device.h"
#include "percpu.h"
#include "radix_tree.h"
#include "vma.h"

struct dax_policy;

/* A device other than the file's own that its block map pointed into: kept
 * for as long as the file, whose leaves may show it. */
struct met_device {
	struct dax_device *dev;		/* a reference */
	struct met_device *next;
};

/* Largest size of a file: the last page must have a page offset after it. */
#define DAX_MAX_SIZE	(INT64_MAX - (DAX_PAGE_SIZE - 1))

/* mapping->frozen: a state, and a count of what its sleepers are woken for. */
enum freeze_state {
	FREEZE_FREEZING = 1,	/* nobody may change the file any more */
	FREEZE_FROZEN = 2,	/* and it is clean */
	FREEZE_STATE = 3,
	FREEZE_SEQUENCE = 4
};

struct dax_mapping {
	/* set once */
	struct dax_device *dax_dev;	/* a reference */
	const struct dax_iomap_ops *ops;
	void *private_data;
	const struct dax_policy *policy;
	void *policy_data;

	/* read by every fault, seldom written */
	_Atomic dax_loff_t i_size;	/* written under both locks exclusive,
					 * grown under i_rwsem exclusive */
	_Atomic uint32_t nr_waiters;	/* threads asleep for its entries */
	struct radix_tree_root i_pages;
	struct dax_vma *i_mmap;		/* changed under invalidate_lock excl. */
	_Atomic uint32_t frozen;	/* freeze.c; set under both locks exclusive */
	uint64_t empty_seen;		/* EMPTY_LEFT at the last collection; changed
					 * under invalidate_lock excl. */
	uint64_t layout_seq;		/* goes up under invalidate_lock excl., when
					 * blocks may come or go */
	struct percpu_rwsem invalidate_lock;
	struct percpu percpu;

	/* the rest */
	struct mutex wb_lock;		/* one writeback at a time: writeback.c */
	_Atomic uint32_t wb_err;	/* sequence << 12 | errno of the last failure */
	_Atomic(struct met_device *) met_devices;
	pthread_rwlock_t i_rwsem __aligned(FALSE_SHARING);
	_Atomic unsigned int refs;
	_Atomic uint64_t page_table_bytes;
	_Atomic uint64_t cow_bytes;
	_Atomic(struct dax_vma *) unfreed;	/* vma_reap(), by next_unfreed */
	struct dax_mapping *next_registered;	/* guarded by the registry */
	uint64_t drain_round;			/* the same */
};

int mapping_new(struct dax_mapping **ret_mapping, struct dax_device *dev,
		const struct dax_mapping_attr *attr,
		const struct dax_policy *policy);
void mapping_get(struct dax_mapping *mapping);
void mapping_put(struct dax_mapping *mapping);

/* Are we in a child that was forked after the file was made? */
bool mapping_is_stale(struct dax_mapping *mapping);

/* invalidate_lock shared and the thread's area, as one step; _nested: inside
 * i_rwsem. */
int mapping_lock_shared(struct dax_mapping *mapping,
			struct percpu_area **ret_area);
int mapping_lock_shared_nested(struct dax_mapping *mapping,
			       struct percpu_area **ret_area);
int mapping_lock_error(int err);

/* The same for a thread that knows its area.  One that holds i_rwsem is in a
 * block map, called by a read or write of this file: it may not come back. */
static inline int mapping_relock_shared(struct dax_mapping *mapping,
					struct percpu_area *area)
{
	int ret = -EDEADLK;

	if (likely(!area->i_rwsem_held))
		ret = percpu_down_read(&mapping->invalidate_lock, area);
	return likely(!ret) ? 0 : mapping_lock_error(ret);
}

static inline void mapping_unlock_shared(struct dax_mapping *mapping,
					 struct percpu_area *area)
{
	percpu_up_read(&mapping->invalidate_lock, area);
}

/* _nested: inside i_rwsem. */
int mapping_lock_exclusive(struct dax_mapping *mapping);
int mapping_lock_exclusive_nested(struct dax_mapping *mapping);
void mapping_unlock_exclusive(struct dax_mapping *mapping);

int i_rwsem_lock_shared(struct dax_mapping *mapping);
int i_rwsem_lock_exclusive(struct dax_mapping *mapping);
void i_rwsem_unlock(struct dax_mapping *mapping);

/* The lock of writeback, outermost of all.  0, -EDEADLK, -ESTALE, -ENOMEM. */
int wb_lock(struct dax_mapping *mapping);
void wb_unlock(struct dax_mapping *mapping);

static inline dax_loff_t i_size_read(struct dax_mapping *mapping)
{
	return smp_load_acquire(&mapping->i_size);
}

/* Must a change wait?  Exact under i_rwsem or invalidate_lock. */
static inline bool mapping_is_frozen(const struct dax_mapping *mapping)
{
	return READ_ONCE(mapping->frozen) & FREEZE_STATE;
}

/* Pages up to and including the one that holds the last byte. */
static inline dax_pgoff_t mapping_max_pgoff(struct dax_mapping *mapping)
{
	return (dax_pgoff_t)(i_size_read(mapping) + (DAX_PAGE_SIZE - 1)) >>
	       DAX_PAGE_SHIFT;
}

/* Last page the tree of a file of @size bytes must be able to hold: that of its
 * last byte, and tall enough for a 2 MiB entry if it has 2 MiB. */
static inline dax_pgoff_t mapping_maxindex(dax_loff_t size)
{
	dax_pgoff_t last = size ? (dax_pgoff_t)(size - 1) >> DAX_PAGE_SHIFT : 0;

	return last == DAX_PMD_NR_PAGES - 1 ? DAX_PMD_NR_PAGES : last;
}

/* Before a frame of @dev is used: hold it.  0 or -ENOMEM. */
int mapping_meet_device(struct dax_mapping *mapping, struct dax_device *dev);

/* Entries in the tree, page pointers excluded (kernel: nrexceptional). */
uint64_t mapping_nrexceptional(struct dax_mapping *mapping);

/*
 * Drop the leaves of a range of pages in every mapping of the file; private
 * copies only with @even_cows.  Context: invalidate_lock held, shared or
 * exclusive.  Kernel: unmap_mapping_range().
 */
void unmap_mapping_pages(struct dax_mapping *mapping, dax_pgoff_t first,
			 dax_pgoff_t last, bool even_cows);

/*
 * Write-protect and clean the leaves of a range of pages in every shared
 * mapping of the file.  true: wait for stores in progress before trusting it.
 * Context: invalidate_lock held, and the entry locks of the pages or
 * invalidate_lock exclusively.  Kernel: pfn_mkclean_range() (v5.19).
 */
bool mkclean_mapping_pages(struct dax_mapping *mapping, dax_pgoff_t first,
			   dax_pgoff_t last);

/* Kill the device: later users get -ENXIO, present ones finish first. */
int device_kill(struct dax_device *dev);

#endif
