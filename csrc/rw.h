/* SPDX-License-Identifier: BSD-3-Clause */
/* rw.h -- read and write through the block map, without faults */
#ifndef DAXCORE_RW_H
#define DAXCORE_RW_H

#include "mapping.h"

ssize_t mapping_pread(struct dax_mapping *mapping, void *buf, size_t len,
		      dax_loff_t pos);
/* The same with i_rwsem held, shared or exclusive. */
ssize_t mapping_read_locked(struct dax_mapping *mapping, char *buf, size_t len,
			    dax_loff_t pos);
ssize_t mapping_pwrite(struct dax_mapping *mapping, const void *buf,
		       size_t len, dax_loff_t pos);
int mapping_zero_range(struct dax_mapping *mapping, dax_loff_t pos,
		       uint64_t len);
int64_t mapping_extents(struct dax_mapping *mapping, dax_loff_t *pos,
			struct dax_extent *buf, size_t nr);

#endif
