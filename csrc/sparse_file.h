/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sparse_file.h -- a block map that is the file's own
 *
 *   byte of the file   0                       i_size
 *                      |##|......|####|........|
 *   window             |                       |            room to grow |
 *   device offset      = byte of the file
 *
 * Implements dax_iomap_ops and struct mapping_hooks over a DEVICE_SPARSE.  The
 * file stays what it is to every other program; its holes stay holes.
 */
#ifndef DAXCORE_SPARSE_FILE_H
#define DAXCORE_SPARSE_FILE_H

#include "mapping.h"
#include "page_set.h"

struct sparse_file {
	struct dax_device *dev;		/* its fd is the file */
	struct page_set data;		/* pages that have data; others are holes */
	struct mutex lock;		/* guards changes of data beside readers */
	bool all_data;			/* the file system tells no holes */
	bool small_blocks;		/* of less than a page */
	_Atomic bool no_punch;		/* the file system refused to */
	_Atomic bool no_fiemap;		/* the file system tells no blocks */
	_Atomic bool set_aside;		/* the file has blocks that are no data */

	/* Up to when data is true: all of it, as long as ctime is that of the last
	 * look over and that was late enough (look_at is INT64_MAX). */
	_Atomic int64_t stamp;		/* ctime of the file then, ns */
	_Atomic int64_t look_at;	/* when the same ctime is worth a look, ns */
	_Atomic uint64_t looked;	/* sys_clock_ns() after it */
	_Atomic uint64_t look_cost;	/* ns it took */
	_Atomic uint32_t resizing;	/* changes of its size by us, in progress */
	_Atomic bool dirty;		/* blocks were taken since the last sync */

	/* which file, and its lock (sparse_open.c) */
	uint64_t st_dev, st_ino;
	int lock_fd;			/* holds the lock; -1: dev->fd does */
	struct dax_mapping *mapping;	/* no reference */
	struct sparse_file *next;
};

extern const struct dax_iomap_ops sparse_file_ops;
extern const struct mapping_hooks sparse_file_hooks;

/* Learn where the holes are, with nobody inside.  0 or -errno. */
int sparse_file_scan(struct sparse_file *sf, uint64_t size);

/* Bytes of memory the map takes / bytes of blocks the file has (du). */
uint64_t sparse_file_bytes(const struct sparse_file *sf);
uint64_t sparse_file_allocated(const struct sparse_file *sf);

/* ---- opening (sparse_open.c) -------------------------------------------- */

/* dax_mapping_open() of daxcore.h. */
int sparse_file_open(struct dax_mapping **ret_mapping, const char *path,
		     dax_loff_t size, unsigned int flags,
		     const struct dax_policy *policy);

/* The block map's free(): forget, unlock. */
void sparse_file_free(struct dax_mapping *mapping, void *private_data);

#endif
