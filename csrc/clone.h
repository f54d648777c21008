/* SPDX-License-Identifier: BSD-3-Clause */
/* clone.h -- files that share blocks; kernel: fs/remap_range.c (6.0) */
#ifndef DAXCORE_CLONE_H
#define DAXCORE_CLONE_H

#include "mapping.h"

/*
 * Let @dst, a file just made that nobody else knows, show all that @src does;
 * its size becomes @src's.  0 or -errno, then @dst is empty.
 */
int mapping_clone_whole(struct dax_mapping *dst, struct dax_mapping *src);

/* The calls of daxcore.h.  Context: no lock held. */
int mapping_clone_range(struct dax_mapping *dst, dax_loff_t dst_pos,
			struct dax_mapping *src, dax_loff_t src_pos,
			uint64_t len);
int64_t mapping_dedupe_range(struct dax_mapping *dst, dax_loff_t dst_pos,
			     struct dax_mapping *src, dax_loff_t src_pos,
			     uint64_t len);

#endif
