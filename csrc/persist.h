/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * persist.h -- how bytes come to a medium and become durable: a table of calls
 *
 * Everything that touches the medium of a device goes through its table:
 * loads and stores of soft mappings, reads and writes, zeroing, writeback.
 *
 *                 memory     persistent memory        file behind page cache
 *   store         memcpy     memcpy                   memcpy
 *   store_nt      memcpy     non-temporal stores      memcpy, remember
 *   zero_nt       memset     non-temporal stores      memset, remember
 *   flush         -          clwb of every line       remember
 *   fence         -          sfence                   -
 *   sync          -          sfence                   fdatasync
 *
 * What `store` brought is durable after flush and sync; what `store_nt` and
 * `zero_nt` brought after sync, on persistent memory after fence already.
 * "Remember": the kernel takes pages for clean that it could not write, so
 * after a failed sync all that is remembered is stored once more before each.
 *
 * Kernel: the pmem operations of drivers/nvdimm/pmem.c and
 * copy_from_iter_flushcache(); the table is ours.
 */
#ifndef DAXCORE_PERSIST_H
#define DAXCORE_PERSIST_H

#include <stdbool.h>
#include <stddef.h>

#include "daxcore/types.h"

struct persist_ops {
	/* 0, or -EIO: the medium refused and an unknown part was stored;
	 * -EFAULT: @from could not be read. */
	int (*store)(struct dax_device *dev, void *to, const void *from,
		     size_t n);
	int (*store_nt)(struct dax_device *dev, void *to, const void *from,
			size_t n);
	int (*zero_nt)(struct dax_device *dev, void *to, size_t n);
	/* Write back [addr, addr + n), whole cache lines.  0, or -EIO: the
	 * medium refused, nothing may be taken to be written back. */
	int (*flush)(struct dax_device *dev, const void *addr, size_t n);
	/* What was flushed and stored past the cache is ordered before what
	 * follows. */
	void (*fence)(struct dax_device *dev);
	/* What was flushed and stored past the cache before is durable.  0, or
	 * -errno: nothing may be taken to be, it may be called again. */
	int (*sync)(struct dax_device *dev);
	/* Is a flushed line durable at the fence?  If not, only sync says so,
	 * it takes long, and an error may come of it. */
	bool durable_at_fence;
	/* Do the bytes outlive the process once their line is flushed?  Only
	 * then can a mapping be synchronous (DAX_VM_SYNC). */
	bool map_sync;
};

/* The table of a device whose bytes do not outlive it, of one whose cache
 * lines are written back, and of a file behind the page cache. */
extern const struct persist_ops persist_memory;
extern const struct persist_ops persist_pmem;
extern const struct persist_ops persist_file;

#endif
