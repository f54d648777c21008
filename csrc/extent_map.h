/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * extent_map.h -- the built-in block map: a file's blocks on its device
 *
 * Lives in memory, for the life of the file; nothing of it survives the
 * process.  Implements dax_iomap_ops.
 */
#ifndef DAXCORE_EXTENT_MAP_H
#define DAXCORE_EXTENT_MAP_H

#include "device.h"
#include "radix_tree.h"

struct extent_map;

extern const struct dax_iomap_ops extent_map_ops;

/* Is it the table of a file over this block map? */
bool extent_map_is(const struct dax_iomap_ops *ops);

/* @size: bytes the file has at first.  0 or -ENOMEM. */
int extent_map_new(struct extent_map **ret_map, struct dax_device *dev,
		   dax_loff_t size);
void extent_map_destroy(struct extent_map *map);

/* Bytes of memory the map takes / bytes of the device it holds. */
uint64_t extent_map_bytes(const struct extent_map *map);
uint64_t extent_map_allocated(const struct extent_map *map);

#endif
