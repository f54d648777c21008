/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * extent_table.h -- a block map that is a table of extents, made elsewhere
 *
 * The embedder says where every byte of the file is; nothing is allocated: a
 * store to a hole is -ENOSPC.  Implements dax_iomap_ops.
 */
#ifndef DAXCORE_EXTENT_TABLE_H
#define DAXCORE_EXTENT_TABLE_H

#include "mapping.h"

struct extent_table;

extern const struct dax_iomap_ops extent_table_ops;

/*
 * Are rows a table for a file of @size bytes on a device of @device_size?  0;
 * -EINVAL, the message names the row, from 0, and its values; -ENOMEM.
 */
int extent_table_check(const struct dax_extent *rows, size_t nr,
		       dax_loff_t size, uint64_t device_size);

/* @rows: checked; copied.  0 or -ENOMEM. */
int extent_table_new(struct extent_table **ret_table,
		     const struct dax_extent *rows, size_t nr);
void extent_table_destroy(struct extent_table *table);

/*
 * Another table for a file over one: dirty entries are flushed, what mappings
 * show goes, and the next fault sees the new table; private copies stay.  Waits
 * until no frame of the file is pinned.
 *
 * Context: no lock held.  Return: 0; else the old table stays: -EINVAL, -ENOMEM,
 * -ENXIO, -EINTR, -EDEADLK, -ESTALE.
 */
int mapping_replace_extents(struct dax_mapping *mapping,
			    const struct dax_extent *rows, size_t nr);

#endif
