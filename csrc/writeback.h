/* SPDX-License-Identifier: BSD-3-Clause */
/* writeback.h -- make dirty entries durable; kernel: fs/dax.c (v4.14) */
#ifndef DAXCORE_WRITEBACK_H
#define DAXCORE_WRITEBACK_H

#include "mapping.h"

/*
 * Write back the DIRTY entries that cover a range of pages, whole entries, and
 * sync the file's devices.  *ret_written: entries flushed, also on failure.
 *
 * Context: no lock of the file held; may sleep for entries and for the medium.
 * Return: 0; -ENXIO (device dead), what the medium said (entries whose bytes
 * are not durable stay DIRTY); -EDEADLK, -ESTALE, -ENOMEM.
 * Kernel: dax_writeback_mapping_range().
 */
int writeback_mapping_pages(struct dax_mapping *mapping, dax_pgoff_t first,
			    dax_pgoff_t last, uint64_t *ret_written);

/*
 * Flush the DIRTY entries that cover a range of pages and take their tags: what
 * they hold is durable when their device is next synced.
 *
 * Context: invalidate_lock exclusive.  Return: 0, -ENXIO (device dead).
 */
int writeback_exclusive(struct dax_mapping *mapping, dax_pgoff_t first,
			dax_pgoff_t last);

/*
 * Let the block map save what it has answered so far: ops->sync.  A failure is
 * remembered for fsync.  Context: no lock of the file held.  0, or -errno.
 */
int sync_block_map(struct dax_mapping *mapping);

/* The calls of daxcore.h. */
int64_t mapping_writeback(struct dax_mapping *mapping, dax_loff_t pos,
			  uint64_t len);
int mapping_fsync(struct dax_mapping *mapping, uint32_t *since);

#endif
