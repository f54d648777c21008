/* SPDX-License-Identifier: BSD-3-Clause */
/* invalidate.h -- entries, leaves and blocks that go; kernel: mm/truncate.c */
#ifndef DAXCORE_INVALIDATE_H
#define DAXCORE_INVALIDATE_H

#include "mapping.h"

/*
 * Remove the clean entries that cover a range of pages, with their leaves;
 * private copies stay.  Entries that are DIRTY stay; with @holes_only all that
 * have a block do.  @pfn: the frame of page @first, those of the other pages
 * follow it: then a data entry that shows another frame goes in any case, its
 * tag no longer speaks of the file's bytes.  0: frames are not compared.
 *
 * Context: invalidate_lock shared; waits for entry locks.
 * Return: 0, or -EBUSY if one stayed that was looked at under its lock.
 * Kernel: invalidate_inode_pages2_range().
 */
int invalidate_pages_range(struct dax_mapping *mapping,
			   struct percpu_area *area, dax_pgoff_t first,
			   dax_pgoff_t last, bool holes_only, dax_pfn_t pfn);

/*
 * Leaves first, then entries; private copies stay.  A 2 MiB entry that reaches
 * out of the range goes whole; if it is DIRTY its other pages get entries of
 * their own.  Both locks exclusive.  0 or -ENOMEM.
 */
int remove_mapping_pages(struct dax_mapping *mapping, dax_pgoff_t first,
			 dax_pgoff_t last);

/* Can blocks of the file be changed?  0, -EROFS, -ENXIO, -EIO. */
int mapping_check_writable(struct dax_mapping *mapping);

/* Is there such a range, and is it not empty?  0, -EINVAL, -EFBIG. */
int mapping_check_range(dax_loff_t pos, uint64_t len);

/* Call @fn with i_rwsem and invalidate_lock exclusive.  What @fn returned, or
 * -EDEADLK, -ESTALE, -ENOMEM.  Context: no lock held. */
int mapping_run_alone(struct dax_mapping *mapping,
		      int (*fn)(struct dax_mapping *mapping, void *arg), void *arg);

/* The medium has another size already: let the file have it, without entries
 * and leaves (private copies too) beyond.  Context: both locks exclusive.
 * 0 or -ENOMEM. */
int mapping_follow_size(struct dax_mapping *mapping, dax_loff_t size);

/* Let the tree hold pages up to a new size.  Takes invalidate_lock exclusive
 * if that means growing it.  Context: i_rwsem exclusive.  0, -ENOMEM, -EDEADLK, -ESTALE. */
int mapping_reserve_size(struct dax_mapping *mapping, dax_loff_t size);

/* The calls of daxcore.h.  Context: no lock held. */
int mapping_truncate(struct dax_mapping *mapping, dax_loff_t size);
int mapping_punch_hole(struct dax_mapping *mapping, dax_loff_t pos,
		       uint64_t len);
int mapping_fallocate(struct dax_mapping *mapping, dax_loff_t pos,
		      uint64_t len);

/*
 * Zero what the block behind the last page holds past the end of the file, so
 * that it does not become data when the file grows; a shared block is left for
 * one of the file's own first.  i_rwsem exclusive, invalidate_lock held.
 */
int zero_tail(struct dax_mapping *mapping);

#endif
