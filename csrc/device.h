/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device.h -- the storage window
 *
 *   device (bytes)   0                                          size
 *                    +------------------------------------------+
 *   window           | one MAP_SHARED mmap                      |
 *                    +------------------------------------------+
 *   PFN              pfn_base ...                 pfn_base + size/4096
 */
#ifndef DAXCORE_DEVICE_H
#define DAXCORE_DEVICE_H

#include "blocks.h"
#include "daxcore/types.h"
#include "persist.h"
#include "sys.h"

enum device_kind {
	DEVICE_MEMORY,	/* memfd: sealed, never shrinks */
	DEVICE_FILE,	/* regular file: somebody may shrink it */
	DEVICE_DAX,	/* device-dax node */
	DEVICE_SPARSE	/* window on one sparse file, longer than that: its blocks
			 * are the file's own (sparse_file.c) */
};

struct dax_device {
	char *window;
	uint64_t size;			/* bytes */
	uint64_t alignment;		/* bytes */
	dax_pfn_t pfn_base;
	_Atomic bool alive;
	_Atomic bool readonly;		/* may become false (DEVICE_SPARSE) */
	unsigned int fork_generation;	/* of the process that opened it */
	enum device_kind kind;
	int fd;
	_Atomic unsigned int refs;
	_Atomic unsigned int nr_files;
	char *path;
	struct block_allocator blocks;
	struct mutex lock;		/* guards the growth of the backing */
	_Atomic uint64_t prepared;	/* backing of [0, prepared) is allocated */
	const struct persist_ops *persist;
	char durability[160];		/* what persist does, and why */
	struct record_log *record;	/* persist_record alone: its log */

	/* persist_file alone: a bit per page, and one per 4096 of them */
	_Atomic uint64_t *unsynced;	/* stored since the last sync began */
	_Atomic uint64_t *unsynced_groups;	/* where to look for these */
	uint64_t *syncing;		/* what the last sync was to cover */
	uint64_t *syncing_groups;
	_Atomic uint64_t unsynced_end;	/* words of groups ever used */
	struct mutex sync_lock;		/* guards syncing and sync_failed */
	bool sync_failed;		/* one did, ever */
};

int device_open(struct dax_device **ret_dev, const char *path, uint64_t size,
		unsigned int flags);
int device_memory(struct dax_device **ret_dev, uint64_t size);
int device_emulate_pmem(struct dax_device **ret_dev, uint64_t size);

/*
 * A window of @size bytes on the sparse file @fd, which is the device's from
 * then on.  Nothing is allocated from it: the file is its own block map.
 * 0, -ENOMEM, -EOVERFLOW (more than the file system can have), -ENODEV, -ENFILE.
 */
int device_window(struct dax_device **ret_dev, const char *path, int fd,
		  uint64_t size, bool readonly);

/* Make a read-only window writable; @fd is the same file, opened for writing,
 * and stays the caller's.  No access to the window is in progress.  0 or -errno. */
int device_make_writable(struct dax_device *dev, int fd);
int device_record(struct dax_device **ret_dev, uint64_t size);
void device_get(struct dax_device *dev);
void device_put(struct dax_device *dev);

int64_t direct_access(struct dax_device *dev, dax_pgoff_t pgoff,
		      uint64_t nr_pages, void **ret_kaddr, dax_pfn_t *ret_pfn);

/*
 * Before storing to [offset, offset+len): make sure that the medium has room,
 * so that a full file system is an answer here and not a SIGBUS later.
 * 0, -EROFS, -ENXIO, -ENOSPC, -EIO (the backing file shrank).
 */
int device_prepare_store(struct dax_device *dev, uint64_t offset, uint64_t len);

/* Owners and pins of frames of some device, by number: blocks.h. */
bool pfn_is_shared(dax_pfn_t pfn);

/* Is it shared, or was it when somebody began to copy it for a write?  If not
 * its file keeps it for as long as the caller holds a lock of that. */
bool pfn_may_move(dax_pfn_t pfn);

/* Does a pin hold it?  So it stays while nobody can make one. */
bool pfn_is_pinned(dax_pfn_t pfn);
void pfn_pin(dax_pfn_t pfn, uint64_t nr);
void pfn_unpin(dax_pfn_t pfn, uint64_t nr);

/* The calls of daxcore.h, for what lies on a device beside files. */
int device_load(struct dax_device *dev, uint64_t offset, void *buf, size_t len);
int device_store(struct dax_device *dev, uint64_t offset, const void *buf,
		 size_t len);
int device_flush(struct dax_device *dev, uint64_t offset, uint64_t len);
int device_fence(struct dax_device *dev);
int device_sync(struct dax_device *dev);

/* Before touching the window at all: -EIO if the backing file shrank. */
int device_verify(struct dax_device *dev);

#endif
