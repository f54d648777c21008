/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mapping.h -- one file: tree, size, block map, locks, the vmas that show it
 *
 * Locks, outer to inner (all of them: docs/locking.md):
 *   i_rwsem           shared: pread, extents; exclusive: pwrite, truncate,
 *                     punch, fallocate, clone, dedupe
 *   invalidate_lock   shared: faults, soft loads and stores, pins, entries,
 *                     invalidation beside a pwrite; exclusive: truncate,
 *                     punch, fallocate, clone, dedupe, mmap, munmap, dontneed,
 *                     growth of the tree
 *   entry locks       entry_lock.h, one at a time per thread
 * The first two refuse with -EDEADLK a thread that holds them already.
 */
#ifndef DAXCORE_MAPPING_H
#define DAXCORE_MAPPING_H

#include "biased_rwsem.h"
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

/*
 * What a block map of the library adds to dax_iomap_ops: a file that lies
 * beside others in a file system, and that other programs may change.
 */
struct mapping_hooks {
	/* At the start of a call, none of the file's locks held: is what is
	 * known of the file still true, its size and the holes of [pos, pos +
	 * len), which the call may show?  0, or -errno that the call returns. */
	int (*verify)(struct dax_mapping *mapping, dax_loff_t pos, uint64_t len);
	/* Read data at @pos, @len bytes of one MAPPED extent: > 0 bytes, -errno. */
	ssize_t (*read)(struct dax_mapping *mapping, void *buf, size_t len,
			dax_loff_t pos);
	/* Write: i_rwsem exclusive, the tree is tall enough, i_size is set by
	 * the caller.  Bytes, fewer than @len if the rest failed; -errno. */
	ssize_t (*write)(struct dax_mapping *mapping, const void *buf, size_t len,
			 dax_loff_t pos);
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
	void *private_data;
	const struct mapping_hooks *hooks;	/* NULL: none of them */
	const struct dax_policy *policy;
	void *policy_data;
	bool tells_new;		/* its block map says NEW whenever it changed */

	/* read by every fault, seldom written */
	const struct dax_iomap_ops *_Atomic ops;	/* by its own operations, under
					 * both locks exclusive */
	_Atomic dax_loff_t i_size;	/* written under both locks exclusive,
					 * grown under i_rwsem exclusive */
	_Atomic uint32_t nr_waiters;	/* threads asleep for its entries */
	struct radix_tree_root i_pages;
	struct dax_vma *i_mmap;		/* changed under invalidate_lock excl. */
	_Atomic uint32_t frozen;	/* freeze.c; set under both locks exclusive */
	uint64_t empty_seen;		/* EMPTY_LEFT at the last collection; changed
					 * under invalidate_lock excl. */
	uint64_t layout_seq;		/* as of a seqcount: odd while both locks are
					 * held exclusively, when blocks may come or go */
	struct biased_rwsem i_rwsem;
	struct percpu_rwsem invalidate_lock;
	struct percpu percpu;

	_Atomic bool ahead;		/* an entry may have the tag: ahead.h */
	bool cloned;			/* may share blocks; changed under both
					 * locks exclusive */

	/* the rest */
	struct mutex wb_lock;		/* one writeback at a time: writeback.c */
	_Atomic uint32_t wb_err;	/* sequence << 12 | errno of the last failure */
	_Atomic(struct met_device *) met_devices;
	_Atomic unsigned int refs __aligned(FALSE_SHARING);
	_Atomic unsigned int nr_real;	/* of its vmas; changed under
					 * invalidate_lock excl. */
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
/* A reference, unless the last one has gone and the file is being freed. */
bool mapping_get_unless_zero(struct dax_mapping *mapping);
void mapping_put(struct dax_mapping *mapping);

/* Was it made before fork()?  Then it is the parent's. */
bool mapping_is_stale(const struct dax_mapping *mapping);

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

	if (likely(!READ_ONCE(area->i_rwsem_held)))
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

/* Does the thread of @area hold i_rwsem, or invalidate_lock shared? */
static inline bool mapping_holds_outer(const struct percpu_area *area)
{
	return READ_ONCE(area->i_rwsem_held) | READ_ONCE(area->reading);
}

/* @area: the thread's; NULL: there was no memory for it. */
int i_rwsem_lock_slow(struct dax_mapping *mapping, struct percpu_area *area,
		      bool write);
void i_rwsem_unlock_slow(struct dax_mapping *mapping);

static inline int i_rwsem_lock(struct dax_mapping *mapping, bool write)
{
	struct percpu_area *area = this_percpu(&mapping->percpu);

	if (likely(area) && likely(!mapping_holds_outer(area)) &&
	    likely(biased_trydown(&mapping->i_rwsem, area, write)))
		return 0;
	return i_rwsem_lock_slow(mapping, area, write);
}

static inline int i_rwsem_lock_shared(struct dax_mapping *mapping)
{
	return i_rwsem_lock(mapping, false);
}

int i_rwsem_lock_exclusive(struct dax_mapping *mapping);

static inline void i_rwsem_unlock(struct dax_mapping *mapping)
{
	struct percpu_area *area = this_percpu(&mapping->percpu);

	if (unlikely(READ_ONCE(area->i_rwsem_held) == RWSEM_PLAIN))
		i_rwsem_unlock_slow(mapping);
	else
		biased_up(&mapping->i_rwsem, area);
}

/*
 * Both locks exclusive, i_rwsem first; _two: of two files, which may be
 * one, in the order of their addresses.  Context: no lock held.
 */
int mapping_lock_both(struct dax_mapping *mapping);
void mapping_unlock_both(struct dax_mapping *mapping);
int mapping_lock_two(struct dax_mapping *a, struct dax_mapping *b);
void mapping_unlock_two(struct dax_mapping *a, struct dax_mapping *b);

/* -ESTALE in a forked child, else 0. */
int mapping_check_alive(struct dax_mapping *mapping);
/* At the start of a call, before the window is touched: -EIO if the backing
 * file shrank, what the hook says.  @len 0: the call shows no holes. */
static inline int mapping_verify(struct dax_mapping *mapping, dax_loff_t pos,
				 uint64_t len)
{
	if (unlikely(mapping->hooks))
		return mapping->hooks->verify(mapping, pos, len);
	if (likely(mapping->dax_dev->kind != DEVICE_FILE))
		return 0;
	return device_verify(mapping->dax_dev);
}

/* The lock of writeback, outermost of all.  0, -EDEADLK, -ESTALE, -ENOMEM. */
int wb_lock(struct dax_mapping *mapping);
void wb_unlock(struct dax_mapping *mapping);

/* Remember a failure to make bytes durable: each open file is told once. */
void mapping_set_error(struct dax_mapping *mapping, int err);

static inline dax_loff_t i_size_read(struct dax_mapping *mapping)
{
	return smp_load_acquire(&mapping->i_size);
}

/* Must a change wait?  Exact under i_rwsem or invalidate_lock. */
static inline bool mapping_is_frozen(const struct dax_mapping *mapping)
{
	return READ_ONCE(mapping->frozen) & FREEZE_STATE;
}

/* May the file have pages taken ahead (ahead.h)?  Those of faults that ended
 * before are counted. */
static inline bool mapping_has_ahead(const struct dax_mapping *mapping)
{
	return unlikely(READ_ONCE(mapping->ahead));
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

/* Number of the file: above 0, never given twice in a process. */
static inline uint64_t mapping_ino(const struct dax_mapping *mapping)
{
	return mapping->percpu.id;
}

/* Entries in the tree, page pointers excluded (kernel: nrexceptional). */
uint64_t mapping_nrexceptional(struct dax_mapping *mapping);

/*
 * Drop the leaves of a range of pages in every mapping of the file; private
 * copies only with @even_cows.  Context: invalidate_lock held, shared or
 * exclusive.  Kernel: unmap_mapping_range().
 */
void unmap_mapping_pages(struct dax_mapping *mapping, dax_pgoff_t first,
			 dax_pgoff_t last, bool even_cows);

/* Drop private copies too, of mappings that have any.  Context: invalidate_lock
 * exclusive. */
void unmap_private_copies(struct dax_mapping *mapping, dax_pgoff_t first,
			  dax_pgoff_t last);

/*
 * Bytes [pos, end) have been taken away or replaced: stores that shared mappings
 * keep until their pages have blocks are of the past.  Leaves that go take none with
 * them.  Context: invalidate_lock exclusive.
 */
void forget_stores(struct dax_mapping *mapping, uint64_t pos, uint64_t end);

/*
 * Pages that may have been holes have frames, from @pfn on: such stores go there,
 * before anybody stores to the frames who came later.
 * Context: invalidate_lock held; either the entries are locked, or i_rwsem is held
 * exclusively and those of holes are gone.
 * Return: 0, or -errno, which the next fsync tells of, too.
 */
int merge_stores(struct dax_mapping *mapping, dax_pgoff_t first, dax_pgoff_t last,
		 dax_pfn_t pfn);

/*
 * The 2 MiB zero entry around @pgoff, locked, becomes 512 of 4 KiB: its leaves
 * go, or become as many.  Context: invalidate_lock held, shared or exclusive.
 */
void split_zero_leaves(struct dax_mapping *mapping, dax_pgoff_t pgoff);

/* Drop the leaves of a range in every real mapping of the file: stores that no
 * call makes wait at the next fault, those made are in the tags.  Context:
 * invalidate_lock exclusive. */
void unmap_real_pages(struct dax_mapping *mapping, dax_pgoff_t first,
		      dax_pgoff_t last);

/* Tag DIRTY what was stored to in a range through real mappings.  Context:
 * invalidate_lock shared, no entry lock held. */
void collect_dirty_pages(struct dax_mapping *mapping, struct percpu_area *area,
			 dax_pgoff_t first, dax_pgoff_t last);

/*
 * Write-protect and clean the leaves of all pages of entries in every shared
 * mapping of the file.  true: wait for stores in progress before trusting it.
 * Context: invalidate_lock held, and the locks of the entries or
 * invalidate_lock exclusively.  Kernel: pfn_mkclean_range() (v5.19).
 */
bool mkclean_mapping_entries(struct dax_mapping *mapping,
			     const struct radix_tree_iter *iter,
			     unsigned int nr);

/* The leaves of entries are looked at soon. */
void prefetch_mapping_entries(struct dax_mapping *mapping,
			      const struct radix_tree_iter *iter, unsigned int nr);

/* Kill the device: later users get -ENXIO, present ones finish first. */
int device_kill(struct dax_device *dev);

#endif
