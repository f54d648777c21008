/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxcore.h -- a userspace DAX engine
 *
 * What to know before the first call:
 *
 * - Every call returns 0, a count, or -errno; the errno global is neither set
 *   nor read.  dax_errormsg() has the sentence for the calling thread's last
 *   failure.  Outputs (ret_x) are written only on success.
 * - All calls may be made from any thread.  Objects are reference counted:
 *   each _new/_open/_memory gives one reference, each _put drops one; a vma
 *   holds its mapping, a mapping holds its device.  No call may be made on an
 *   object after the caller's last reference to it is gone.
 * - Calls sleep for entry locks and for each other (docs/locking.md).  None
 *   of them may be made from a signal handler, and none needs the GIL.
 * - Calls that change a frozen file sleep for the thaw and return -EINTR when a
 *   signal comes: nothing has been done, repeat them.
 * - After fork() the child must not use objects made before it: calls return
 *   -ESTALE there.
 * - Offsets and lengths are bytes unless the type is dax_pgoff_t or the name
 *   says pages.
 */
#ifndef DAXCORE_H
#define DAXCORE_H

#include "daxcore/types.h"

#ifndef DAX_API
#define DAX_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/**
 * dax_version() - version of the library that is running
 *
 * Context: any.
 * Return: a static string, as "0.1.0".
 * Since: 0.1
 */
DAX_API const char *dax_version(void);

/**
 * dax_errormsg() - what, where and why the calling thread's last call failed
 *
 * Context: any; thread local.
 * Return: a string valid until the thread's next call; "" if the call did not
 * fail, or if a block map of the embedder's returned the error.
 * Since: 0.1
 */
DAX_API const char *dax_errormsg(void);

/* ---- devices ---------------------------------------------------------- */

/**
 * dax_device_open() - open a storage window over a file or a /dev/dax node
 * @ret_dev: receives the device
 * @path: regular file or device-dax character device
 * @size: bytes, multiple of 4096; 0 means the file's own (node's own) size
 * @flags: DAX_DEVICE_CREATE, DAX_DEVICE_OVERWRITE or both
 *
 * The window is one MAP_SHARED mmap of the whole device.  The backing file is
 * locked against a second open, in this process and in others.  With CREATE
 * the file is made and must not exist, unless OVERWRITE is given too; with
 * OVERWRITE what exists is treated as free space.  Without either the device
 * is read-only: block maps may point into it and nothing is ever stored.
 *
 * Context: may sleep; GIL: no.
 * Return: 0; -EINVAL (size not a multiple of 4096 or of the node's alignment,
 * size 0 of an empty file, size beyond the node; persistent memory, and
 * DAXCORE_FLUSH names no cache-line write-back of this CPU), -ENOENT, -EEXIST, -EACCES,
 * -EISDIR, -ENODEV (neither a regular file nor a device-dax node, or a node
 * in system-ram mode), -EBUSY (already open; the message names the holder),
 * -EROFS (write asked of a read-only file system), -ENOSPC, -ENOMEM, -EFBIG.
 * Kernel: dax_open() of drivers/dax/device.c (v4.14), for the node.
 * Since: 0.1
 */
DAX_API int dax_device_open(struct dax_device **ret_dev, const char *path,
			    uint64_t size, unsigned int flags);

/**
 * dax_device_memory() - make a storage window of anonymous memory (a memfd)
 * @ret_dev: receives the device
 * @size: bytes, multiple of 4096, > 0
 *
 * Pages are taken from the system when they are first stored to.
 *
 * Context: may sleep; GIL: no.
 * Return: 0; -EINVAL (size), -ENOMEM, -EMFILE, -EFBIG.
 * Since: 0.1
 */
DAX_API int dax_device_memory(struct dax_device **ret_dev, uint64_t size);

/**
 * dax_device_emulate_pmem() - the same, treated as persistent memory
 * @ret_dev: receives the device
 * @size: bytes, multiple of 4096, > 0
 *
 * Stores are flushed from the CPU's cache as they would be on a /dev/dax node,
 * to test and to measure; the bytes are gone with the process all the same.
 *
 * Context: may sleep; GIL: no.
 * Return: 0; as dax_device_memory(), -EOPNOTSUPP (no cache-line write-back is
 * known for this CPU), -EINVAL (DAXCORE_FLUSH in the environment names one that
 * this CPU has not).
 * Since: 0.2
 */
DAX_API int dax_device_emulate_pmem(struct dax_device **ret_dev, uint64_t size);

/**
 * dax_device_record() - the same, writing down what happens to the medium
 * @ret_dev: receives the device
 * @size: bytes, multiple of 4096, > 0
 *
 * The memory is treated as persistent, and each store, flush and fence is
 * appended to a log (dax_device_log()): what a medium may hold after a power
 * loss follows from it.  It starts as zeroes.  Stores made through the address
 * of dax_direct_access() are not seen: use dax_device_store().
 *
 * Context: may sleep; GIL: no.
 * Return: 0; as dax_device_memory().
 * Since: 0.2
 */
DAX_API int dax_device_record(struct dax_device **ret_dev, uint64_t size);

/**
 * dax_device_get() - take a reference
 * dax_device_put() - drop a reference; the last one unmaps and unlocks
 * Context: put may sleep; GIL: no.  Since: 0.1
 */
DAX_API void dax_device_get(struct dax_device *dev);
DAX_API void dax_device_put(struct dax_device *dev);

/**
 * dax_device_kill() - declare the device dead (kernel: kill_dax)
 *
 * Waits until calls in progress on any file of the process have finished (a
 * block map may point into any device).  Afterwards
 * faults that need the device end in SIGBUS with -ENXIO, reads and writes
 * return -ENXIO.  Zero pages go on working.  Cannot be undone.
 *
 * Context: may sleep; not from a block map; GIL: no.
 * Return: 0; -EDEADLK (called from a block map; the device lives on), -ESTALE
 * (after fork), -ENOMEM (the device is dead, but a call may still be inside).
 * Since: 0.1
 */
DAX_API int dax_device_kill(struct dax_device *dev);

/* Context: any.  Since: 0.1 */
DAX_API uint64_t dax_device_size(const struct dax_device *dev);	/* bytes */
DAX_API uint64_t dax_device_free_bytes(struct dax_device *dev);
DAX_API uint64_t dax_device_alignment(const struct dax_device *dev);
DAX_API const char *dax_device_path(const struct dax_device *dev);
DAX_API int dax_device_alive(const struct dax_device *dev);	/* 1 or 0 */
DAX_API int dax_device_readonly(const struct dax_device *dev);	/* 1 or 0 */
/* How stores become durable, and why so, in one sentence.  Context: any.
 * Since: 0.2 */
DAX_API const char *dax_device_durability(const struct dax_device *dev);
/* Files that are not gone yet.  Context: any.  Since: 0.1 */
DAX_API unsigned int dax_device_nr_files(const struct dax_device *dev);

/**
 * dax_direct_access() - translate a range of the device to memory
 * @dev: device
 * @pgoff: page of the device
 * @nr_pages: pages wanted, > 0
 * @ret_kaddr: receives the address in the window, or NULL
 * @ret_pfn: receives the first frame number, or NULL
 *
 * Context: any.
 * Return: pages available at that address, 1 to @nr_pages; -ENXIO (device is
 * dead), -ERANGE (@pgoff beyond the device), -EINVAL (@nr_pages is 0).
 * Kernel: dax_direct_access() of drivers/dax/super.c (v4.14).
 * Since: 0.1
 */
DAX_API int64_t dax_direct_access(struct dax_device *dev, dax_pgoff_t pgoff,
				  uint64_t nr_pages, void **ret_kaddr,
				  dax_pfn_t *ret_pfn);

/**
 * dax_device_load() - read bytes of the device
 * dax_device_store() - write bytes: durable after a flush and a sync
 * @dev: device
 * @offset: bytes on the device
 * @buf: the caller's memory
 * @len: bytes
 *
 * For what an embedder keeps on a device beside files: its own metadata.  The
 * blocks of files without a block map of the embedder's are not protected.
 *
 * Context: any; may sleep for the growth of the backing; GIL: no.
 * Return: 0; -ERANGE (the bytes are not all on the device), -ENXIO (dead),
 * -EIO (the medium refused: an unknown part was copied), -EFAULT (@buf maps a
 * file that was truncated), and for a store -EROFS, -ENOSPC.  -ESTALE.
 * Since: 0.2
 */
DAX_API int dax_device_load(struct dax_device *dev, uint64_t offset, void *buf,
			    size_t len);
DAX_API int dax_device_store(struct dax_device *dev, uint64_t offset,
			     const void *buf, size_t len);

/**
 * dax_device_flush() - begin to write back the cache lines of a range
 * dax_device_fence() - order what this thread flushed before what follows
 * dax_device_sync() - make durable what this thread flushed
 * @dev: device
 * @offset: bytes on the device
 * @len: bytes
 *
 * The medium may take a line without being asked, at any time: a flush and a
 * fence say that it has, and a store that is to come after another one on the
 * medium is made after the fence.  On persistent memory a fence is enough to
 * be durable, on a file behind the page cache only sync is
 * (dax_device_durability()).  Also for stores through dax_direct_access().
 *
 * Context: any; sync may sleep for the medium; GIL: no.
 * Return: 0; -ERANGE (the bytes are not all on the device), -ENXIO (dead),
 * -EIO, and for sync what fdatasync(2) says.  -ESTALE.
 * Kernel: dax_flush(), nvdimm_flush() (v4.14).
 * Since: 0.2
 */
DAX_API int dax_device_flush(struct dax_device *dev, uint64_t offset,
			     uint64_t len);
DAX_API int dax_device_fence(struct dax_device *dev);
DAX_API int dax_device_sync(struct dax_device *dev);

/**
 * dax_device_log_length() - events of a recorded device so far
 * @dev: device of dax_device_record()
 *
 * The number names the present moment: the events before it have happened.
 *
 * Context: any.
 * Return: events; -EOPNOTSUPP (another device), -ENOMEM (events are missing
 * from the log since there was no memory for it; reset it), -ESTALE.
 * Since: 0.2
 */
DAX_API int64_t dax_device_log_length(struct dax_device *dev);

/**
 * dax_device_log() - copy events of a recorded device
 * @dev: device of dax_device_record()
 * @first: the first event wanted, from 0
 * @buf: receives rows, in the order in which they took effect
 * @nr: rows @buf can take
 *
 * A store of more than 8 bytes is one row; it comes to the medium in pieces,
 * from the lowest address up, cut where an address is a multiple of 8.
 *
 * Context: any.
 * Return: rows filled, 0 when there are no more; as dax_device_log_length().
 * Since: 0.2
 */
DAX_API int64_t dax_device_log(struct dax_device *dev, uint64_t first,
			       struct dax_record *buf, size_t nr);

/**
 * dax_device_log_data() - copy the bytes of stores
 * @dev: device of dax_device_record()
 * @data: where to begin, as in struct dax_record
 * @buf: receives bytes
 * @len: bytes @buf can take
 *
 * The bytes of one store follow those of the one before.
 *
 * Context: any.
 * Return: bytes filled, 0 when there are no more; as dax_device_log_length().
 * Since: 0.2
 */
DAX_API int64_t dax_device_log_data(struct dax_device *dev, uint64_t data,
				    void *buf, size_t len);

/**
 * dax_device_log_reset() - forget the log: what is stored now is on the medium
 * @dev: device of dax_device_record()
 *
 * Context: any.
 * Return: 0; -EOPNOTSUPP, -ESTALE.
 * Since: 0.2
 */
DAX_API int dax_device_log_reset(struct dax_device *dev);

/* ---- mappings (files) ------------------------------------------------- */

/**
 * dax_mapping_new() - make a file on a device
 * @ret_mapping: receives the mapping
 * @dev: device
 * @attr: size, policy, block map
 *
 * Without a block map of its own the file gets an extent_map: blocks are
 * allocated on the device on first write and freed when the file goes away.
 * That map lives in memory; nothing of it survives the process.
 *
 * Context: may sleep; GIL: no.
 * Return: 0; -EINVAL (size negative or above 2^63-4096, unknown policy or
 * pool, ops without iomap_begin, struct_size), -ENOMEM, -ENXIO (device dead),
 * -ESTALE (the device was opened before fork()).
 * Since: 0.1
 */
DAX_API int dax_mapping_new(struct dax_mapping **ret_mapping,
			    struct dax_device *dev,
			    const struct dax_mapping_attr *attr);

/**
 * dax_mapping_new_extents() - make a file whose extents are known
 * @ret_mapping: receives the mapping
 * @dev: device
 * @attr: size, policy; ops must be NULL
 * @rows: extents in order of offset; copied
 * @nr: rows
 *
 * The rows are all there is: from byte 0 to the end of the file or beyond it, one
 * after the other, holes included.  Types are HOLE and MAPPED, flags 0, offsets
 * and lengths multiples of 4096; no byte of the device is in two rows.  Nothing
 * is allocated: a store to a hole is -ENOSPC and the hole stays; the file grows
 * as far as the rows reach.  The blocks are not taken from those that files
 * without a block map of their own are given: keep such files off the device.
 *
 * Context: may sleep; GIL: no.
 * Return: 0; -EINVAL (rows: the message names the row, from 0, and its values;
 * or as dax_mapping_new()), -ENOMEM, -ENXIO, -ESTALE.
 * Since: 0.3
 */
DAX_API int dax_mapping_new_extents(struct dax_mapping **ret_mapping,
				    struct dax_device *dev,
				    const struct dax_mapping_attr *attr,
				    const struct dax_extent *rows, size_t nr);

/**
 * dax_mapping_replace_extents() - other extents for such a file, at once
 * @mapping: file of dax_mapping_new_extents()
 * @rows: as there
 * @nr: rows
 *
 * Every load, store, read and write is served by the old rows or by the new ones,
 * each page as a whole.  When the call returns nothing shows the old blocks any
 * more, in no mapping, and what was stored to them has been flushed: they may be
 * used for something else.  Private copies stay.  Waits until no page of the file
 * is pinned (a thread that has pinned one waits for itself), and for a thaw.
 *
 * Context: i_rwsem and invalidate_lock exclusive; may sleep; GIL: no.
 * Return: 0; else the old rows stay: -EINVAL (rows; another block map), -ENOMEM,
 * -ENXIO (device dead, with pages that are not yet flushed), -EINTR (a signal
 * handler ran while it waited), -EDEADLK, -ESTALE.
 * Since: 0.3
 */
DAX_API int dax_mapping_replace_extents(struct dax_mapping *mapping,
					const struct dax_extent *rows, size_t nr);

/**
 * dax_check_extents() - are rows good for a file of a size, on a device of one?
 * @rows: as dax_mapping_new_extents() wants them
 * @nr: rows
 * @size: bytes of the file; 0: not known
 * @device_size: bytes of the device; UINT64_MAX: not known
 *
 * Context: any; GIL: no.
 * Return: 0; -EINVAL (the message names the row, from 0, and its values), -ENOMEM.
 * Since: 0.3
 */
DAX_API int dax_check_extents(const struct dax_extent *rows, size_t nr,
			      dax_loff_t size, uint64_t device_size);

/**
 * dax_mapping_open() - open a sparse file as device and block map in one
 * @ret_mapping: receives the file, with a reference
 * @path: regular file
 * @size: bytes the file gets if it is shorter; 0: it keeps its size
 * @flags: 0 to read, DAX_OPEN_WRITE, DAX_OPEN_TRUNCATE
 *
 * The file stays an ordinary file: byte n of the device is byte n of the file,
 * holes are what lseek(SEEK_HOLE) says, a store into a hole takes a block of
 * the file system, and other programs read and write it as they did.  Its
 * device, dax_mapping_device(), is a window longer than the file, so that the
 * file can grow; it holds no other files.
 *
 * Within a process there is one mapping for each file (device and inode): a
 * second open gives it again, and makes it writable if it is asked for.  Other
 * processes are kept out by flock(2), shared to read and exclusive to write.
 * What ignores the lock is met so: each call looks at the file's ctime and
 * size, and where they may have changed asks the file system about the holes
 * that it is going to show; what a mapping of memory shows meanwhile cannot be
 * known.
 *
 * The policy is the zero page.  Where the file system tells no holes all is
 * data; where it has no fallocate() or punching those calls are -EOPNOTSUPP.
 *
 * Context: may sleep; GIL: no.
 * Return: 0; -EINVAL (@flags unknown, @size negative, or without a flag),
 * -ENOENT, -EACCES, -EISDIR, -ENODEV (not a regular file, or one that cannot
 * be mapped shared), -EBUSY (locked by another process; the message names it),
 * -EROFS, -EFBIG (longer than 64 TiB, or than the window of an open file),
 * -ENOSPC, -ENOMEM, -EMFILE, -ENFILE, -EIO.
 * Since: 0.2
 */
DAX_API int dax_mapping_open(struct dax_mapping **ret_mapping,
			     const char *path, dax_loff_t size,
			     unsigned int flags);

/* References.  The last put frees the tree and, by ops->free, the block map.
 * Context: put may sleep; GIL: no.  Since: 0.1 */
DAX_API void dax_mapping_get(struct dax_mapping *mapping);
DAX_API void dax_mapping_put(struct dax_mapping *mapping);

/* Of a file of dax_mapping_open() the size is asked anew; may sleep.
 * Context: any.  Since: 0.1 */
DAX_API dax_loff_t dax_mapping_size(const struct dax_mapping *mapping);
DAX_API unsigned int dax_mapping_policy(const struct dax_mapping *mapping);
DAX_API struct dax_device *dax_mapping_device(const struct dax_mapping *mapping);

/* Number of the file, above 0, never given twice in a process and the
 * processes forked from it: ino of its trace events.
 * Context: any.  Since: 0.2 */
DAX_API uint64_t dax_mapping_ino(const struct dax_mapping *mapping);

/**
 * dax_mapping_pread() - read bytes through the block map, without faults
 * @mapping: file
 * @buf: destination
 * @len: bytes
 * @pos: byte position
 *
 * Holes read as zeroes and leave no entry in the tree.
 *
 * Context: i_rwsem shared; may sleep; GIL: no.
 * Return: bytes read, 0 at or past the end; -EINVAL (@pos negative),
 * -ENXIO (device dead), -EIO (block map answered nonsense), -EDEADLK (called
 * from the file's own block map), -ESTALE (after fork), or what the block map
 * returned, if nothing was read before the failure.
 * Kernel: dax_iomap_rw() (v4.14).
 * Since: 0.1
 */
DAX_API ssize_t dax_mapping_pread(struct dax_mapping *mapping, void *buf,
				  size_t len, dax_loff_t pos);

/**
 * dax_mapping_pwrite() - write bytes through the block map, without faults
 *
 * Blocks are allocated for holes, and what mappings show of those holes is
 * invalidated first.  Writing past the end grows the file.
 *
 * Context: i_rwsem exclusive; may sleep; GIL: no.
 * Return: bytes written; -EINVAL (@pos negative), -EFBIG (end beyond
 * 2^63-4096), -ENOSPC (device full), -EROFS, -ENXIO, -EIO, -EDEADLK, -ESTALE,
 * -ENOMEM, or what the block map returned, if nothing was written before.
 * Kernel: dax_iomap_rw() (v4.14).
 * Since: 0.1
 */
DAX_API ssize_t dax_mapping_pwrite(struct dax_mapping *mapping,
				   const void *buf, size_t len,
				   dax_loff_t pos);

/**
 * dax_mapping_truncate() - set the size of the file
 *
 * Shrinking removes entries, page-table leaves (private copies too) and
 * blocks beyond the new end, and zeroes the rest of the last page.  It waits
 * until no frame of those blocks is pinned: a thread that has pinned one waits
 * for itself.
 *
 * Context: i_rwsem and invalidate_lock exclusive; may sleep; GIL: no.
 * Return: 0; -EINVAL (size negative), -EFBIG (above 2^63-4096), -EROFS,
 * -ENXIO, -ENOMEM, -EINTR (a signal handler ran while it waited for a pin),
 * -ENOSPC (the last page is shared and there is no block for a copy),
 * -EDEADLK, -ESTALE, or what the block map returned.
 * Kernel: truncate_setsize() (v4.14), dax_break_layout() (v6.15).
 * Since: 0.1
 */
DAX_API int dax_mapping_truncate(struct dax_mapping *mapping,
				 dax_loff_t size);

/**
 * dax_mapping_fallocate() - allocate zeroed blocks; grows the file if needed
 * dax_mapping_punch_hole() - free the whole pages inside a range, zero the
 * partial ones at its edges; the size stays.  Waits until no frame of the whole
 * pages is pinned
 *
 * What fallocate finds allocated stays as it is: where blocks are shared with a
 * clone a store may still find the device full.
 *
 * Context: i_rwsem and invalidate_lock exclusive; may sleep; GIL: no.
 * Return: 0; -EINVAL (negative, or length 0), -EFBIG, -ENOSPC (for punch: an
 * edge is shared and there is no block for a copy), -EROFS, -ENXIO, -ENOMEM,
 * -EINTR (punch: a signal handler ran while it waited for a pin), -EOPNOTSUPP
 * (block map has no such call), -EDEADLK, -ESTALE, or what the block map returned.
 * Kernel: vfs_fallocate(), ext4_punch_hole() (v4.14).
 * Since: 0.1
 */
DAX_API int dax_mapping_fallocate(struct dax_mapping *mapping,
				  dax_loff_t pos, uint64_t len);
DAX_API int dax_mapping_punch_hole(struct dax_mapping *mapping,
				   dax_loff_t pos, uint64_t len);

/**
 * dax_mapping_zero_range() - make bytes read as zeroes, keeping the blocks
 * @mapping: file
 * @pos: byte position
 * @len: bytes, > 0; what lies past the end of file is left out
 *
 * Holes stay holes.  Mappings see the zeroes at once.
 *
 * Context: i_rwsem exclusive; may sleep; GIL: no.
 * Return: 0; -EINVAL (@pos negative, length 0), -EFBIG (beyond 2^63-4096),
 * -EROFS, -ENXIO, -EIO, -ENOSPC (a shared block must be copied), -EDEADLK,
 * -ESTALE, -ENOMEM, or what the block map returned; bytes before the failure
 * are zeroed.
 * Kernel: iomap_zero_range(), __dax_zero_page_range() (v4.14).
 * Since: 0.2
 */
DAX_API int dax_mapping_zero_range(struct dax_mapping *mapping,
				   dax_loff_t pos, uint64_t len);

/**
 * dax_mapping_writeback() - make the dirty entries of a range durable
 * @mapping: file
 * @pos: byte position, multiple of 4096
 * @len: bytes; entries that reach out of the range are written whole
 *
 * Each entry is locked, its leaves in every mapping are write-protected, its
 * bytes are flushed, and then it is clean.  Stores that come later are not
 * covered.  How bytes are flushed: dax_device_durability().
 *
 * Context: one at a time per file; entry locks; may sleep for the medium; GIL:
 * no.  Where blocks were taken ahead of stores, i_rwsem and invalidate_lock
 * exclusive first.  Not from a block map of the file.
 * Return: entries written; -EINVAL (alignment), -ENXIO (device dead), -EIO,
 * -ENOSPC and what else fdatasync(2) says, -EDEADLK, -ESTALE, -ENOMEM.  What
 * could not be made durable stays dirty: a retry stores it again.
 * Kernel: dax_writeback_mapping_range() (v4.14).
 * Since: 0.2
 */
DAX_API int64_t dax_mapping_writeback(struct dax_mapping *mapping,
				      dax_loff_t pos, uint64_t len);

/**
 * dax_mapping_fsync() - make the file durable
 * @mapping: file
 * @since: NULL, or the caller's cursor, first set by dax_mapping_wb_err()
 *
 * dax_mapping_writeback() of everything, pwrite() and zeroing included, then
 * the block map's sync.  With a cursor, a failure of somebody else's writeback
 * since the last look is returned once, even if it has been made good since.
 *
 * Context, Return: as dax_mapping_writeback(), 0 for success; or what the block
 * map returned.
 * Kernel: ext4_sync_file(), file_check_and_advance_wb_err() (v4.14).
 * Since: 0.2
 */
DAX_API int dax_mapping_fsync(struct dax_mapping *mapping, uint32_t *since);

/* Where a cursor of dax_mapping_fsync() starts.  Context: any.  Since: 0.2 */
DAX_API uint32_t dax_mapping_wb_err(const struct dax_mapping *mapping);

/**
 * dax_mapping_clone() - make a file that shows the same bytes
 * @ret_mapping: receives the new file, on the same device, with the policy of
 *               @src (a page pool is cold)
 * @src: file over the built-in block map
 *
 * No byte is copied: both files share their blocks, until one of them stores to
 * a page, which then gets a block of its own.  That may end in -ENOSPC, also
 * where the file had a block before.  Waits until no frame of @src is pinned: a
 * thread that has pinned one waits for itself.
 *
 * Context: i_rwsem and invalidate_lock of @src exclusive; may sleep; GIL: no.
 * Return: 0; -EOPNOTSUPP (a block map of the embedder's), -EROFS, -ENXIO,
 * -ENOMEM, -EINTR (a signal handler ran while it waited for a pin), -EDEADLK,
 * -ESTALE.
 * Kernel: xfs_file_remap_range() (v6.0).
 * Since: 0.2
 */
DAX_API int dax_mapping_clone(struct dax_mapping **ret_mapping,
			      struct dax_mapping *src);

/**
 * dax_mapping_clone_range() - let a range show the bytes of another
 * @dst: file
 * @dst_pos: byte position, multiple of 4096
 * @src: file on the same device; may be @dst, if the ranges do not overlap
 * @src_pos: byte position, multiple of 4096
 * @len: bytes, multiple of 4096, or up to the end of @src if @dst does not
 *       reach behind the range; 0: up to the end of @src
 *
 * As dax_mapping_clone(), of a part: FICLONERANGE.  @dst grows if the range
 * ends behind its end.  Whole or not at all.
 *
 * Context: i_rwsem and invalidate_lock of both exclusive; may sleep; GIL: no.
 * Return: 0; -EINVAL (alignment, overlap, a range that leaves @src), -EFBIG,
 * -EXDEV (another device), -EOPNOTSUPP (no block map that can), -ENOSPC (the
 * last page of @dst had to be zeroed behind its end, and was shared), -EROFS,
 * -ENXIO, -EIO, -ENOMEM, -EINTR, -EDEADLK, -ESTALE, or what the block map
 * returned.
 * Kernel: generic_remap_file_range_prep() (v6.0).
 * Since: 0.2
 */
DAX_API int dax_mapping_clone_range(struct dax_mapping *dst, dax_loff_t dst_pos,
				    struct dax_mapping *src, dax_loff_t src_pos,
				    uint64_t len);

/**
 * dax_mapping_dedupe_range() - share the blocks of two ranges that are equal
 * @dst: file whose blocks are given up
 * @dst_pos: byte position, multiple of 4096
 * @src: file on the same device whose blocks stay
 * @src_pos: byte position, multiple of 4096
 * @len: bytes, multiple of 4096, or up to the end of both files
 *
 * Compares under the locks, so that nothing changes in between: FIDEDUPERANGE.
 * Pages that are zero in both become holes of both.
 *
 * Context: i_rwsem and invalidate_lock of both exclusive; may sleep; GIL: no.
 * Return: @len; -EBADE (the bytes differ; nothing was changed), and as
 * dax_mapping_clone_range().
 * Kernel: dax_dedupe_file_range_compare() (v6.0).
 * Since: 0.2
 */
DAX_API int64_t dax_mapping_dedupe_range(struct dax_mapping *dst,
					 dax_loff_t dst_pos,
					 struct dax_mapping *src,
					 dax_loff_t src_pos, uint64_t len);

/**
 * dax_pin_pages() - look at bytes of a file where they are
 * @mapping: file
 * @pos: byte position
 * @len: bytes wanted
 * @write: 0 to load, 1 to store
 * @ret_pin: receives address, frame and length
 *
 * Gives the bytes from @pos on that lie together on the device, @len at most
 * and not behind the end of the file.  Until dax_unpin_pages() what frees these
 * blocks or lets a clone share them waits.  With @write the pages get blocks of
 * the file's own and are DIRTY; without, a hole shows a common zero page, of
 * which 4 KiB or 2 MiB lie together, and no block is allocated.
 *
 * A pin shows a frame.  If the file leaves that for another (a store to a
 * shared block, a store to a hole) a pin to read goes on showing the old one.
 *
 * Context: invalidate_lock shared, then entry locks; may sleep, with @write
 * until a frozen file is thawed; GIL: no.
 * Return: bytes, 0 at or past the end of the file (nothing is pinned); -EINVAL
 * (@pos negative, or a block map whose extents begin within pages), -EOPNOTSUPP
 * (a sparse file, which another program may cut off at any time), -ENOSPC,
 * -EROFS, -ENXIO, -EIO, -ENOMEM, -EINTR (@write: a signal handler ran while it
 * waited for a thaw), -EDEADLK, -ESTALE, or what the block map returned, if that
 * was of the first page.
 * Kernel: pin_user_pages_fast() (v6.0).
 * Since: 0.2
 */
DAX_API ssize_t dax_pin_pages(struct dax_mapping *mapping, dax_loff_t pos,
			      size_t len, int write, struct dax_pin *ret_pin);

/**
 * dax_unpin_pages() - done with them
 * @pin: of dax_pin_pages(); its length becomes 0
 * @dirty: 1: bytes were stored, mark the pages DIRTY (needs a pin to write); 0:
 *         none were since the last writeback
 *
 * Context: invalidate_lock shared, then entry locks; may sleep; GIL: no.
 * Return: 0; or the pin stays: -ESTALE (after fork), and only with @dirty
 * -ENOMEM, -EDEADLK, or what the block map returned.
 * Kernel: unpin_user_pages_dirty_lock() (v6.0).
 * Since: 0.2
 */
DAX_API int dax_unpin_pages(struct dax_pin *pin, int dirty);

/**
 * dax_layout_busy_page_range() - is a frame of a range pinned?
 * @mapping: file
 * @first: first page
 * @last: last page, inclusive
 * @ret_index: receives the page that is, or NULL
 * @ret_pfn: receives its frame, or NULL
 *
 * Context: i_rwsem and invalidate_lock exclusive for a moment; GIL: no.
 * Return: 1 or 0; -EDEADLK, -ESTALE, -ENOMEM, or what the block map returned.
 * Kernel: dax_layout_busy_page_range() (v5.10).
 * Since: 0.2
 */
DAX_API int dax_layout_busy_page_range(struct dax_mapping *mapping,
				       dax_pgoff_t first, dax_pgoff_t last,
				       dax_pgoff_t *ret_index,
				       dax_pfn_t *ret_pfn);

/**
 * dax_break_layout() - wait until no frame of a range is pinned
 * @mapping: file
 * @first: first page
 * @last: last page, inclusive
 * @nowait: 1: do not wait
 *
 * What truncate, punch_hole, clone and dedupe do before they begin.  True at
 * the moment it is said.
 *
 * Context: i_rwsem and invalidate_lock exclusive for moments; may sleep, with
 * no lock held; GIL: no.
 * Return: 0; -EBUSY (@nowait), -EINTR (a signal handler ran), -EDEADLK,
 * -ESTALE, -ENOMEM, or what the block map returned.
 * Kernel: dax_break_layout() (v6.15).
 * Since: 0.2
 */
DAX_API int dax_break_layout(struct dax_mapping *mapping, dax_pgoff_t first,
			     dax_pgoff_t last, int nowait);

/**
 * dax_mapping_entries() - snapshot of the radix tree
 * @mapping: file
 * @index: in: first page to look at; out: where to go on
 * @buf: receives rows in order of index
 * @nr: rows @buf can take
 *
 * Takes no entry lock: rows are each true at some moment of the call.
 *
 * Context: invalidate_lock shared; GIL: no.
 * Return: rows filled, 0 when there are no more; -EDEADLK, -ESTALE, -ENOMEM.
 * Since: 0.1
 */
DAX_API int64_t dax_mapping_entries(struct dax_mapping *mapping,
				    dax_pgoff_t *index,
				    struct dax_entry_info *buf, size_t nr);

/**
 * dax_mapping_collect() - remove the empty entries that faults left behind
 * @mapping: file
 *
 * A fault that fails or makes a private copy leaves an entry that stands for
 * nothing.  Calls that have the file to themselves (mmap, munmap, truncate,
 * punch, fallocate) remove them when there are many; this removes all.
 *
 * Context: invalidate_lock exclusive; may sleep; GIL: no.
 * Return: entries removed; -EDEADLK, -ESTALE, -ENOMEM.
 * Since: 0.2
 */
DAX_API int64_t dax_mapping_collect(struct dax_mapping *mapping);

/**
 * dax_mapping_freeze() - keep the file as it is: write back and let nobody write
 * dax_mapping_thaw() - let them
 * @mapping: file
 *
 * Waits for changes in progress, writes back everything (dax_mapping_fsync())
 * and returns with the file clean and no page of it writable.  Until it is
 * thawed, stores through shared mappings, pwrite, truncate, fallocate, punch_hole,
 * zero_range and pins to write sleep, holding no lock; a signal ends the sleep
 * with -EINTR and nothing done, and the call is to be repeated.  Loads, reads,
 * writeback, private copies, mmap and munmap go on.  Who has pinned a page to
 * write already is not held up.  Freezes do not nest.
 *
 * Context: may sleep; any thread may thaw; GIL: no.
 * Return: 0; freeze: -EBUSY (frozen already), and as dax_mapping_fsync(), then
 * it is not frozen; thaw: -EINVAL (not frozen), -ESTALE.
 * Kernel: freeze_super(), thaw_super() (v4.14).
 * Since: 0.2
 */
DAX_API int dax_mapping_freeze(struct dax_mapping *mapping);
DAX_API int dax_mapping_thaw(struct dax_mapping *mapping);

/**
 * dax_lock_mapping_entry() - lock one entry of the tree and keep it
 * @mapping: file
 * @index: page of the file
 * @order: 0, or DAX_PMD_ORDER for the 2 MiB around @index
 * @row: receives what is locked, or NULL
 * @ret_cookie: receives what dax_unlock_mapping_entry() wants
 *
 * Makes an empty entry where there is none.  A 4 KiB request gets a 2 MiB entry
 * that has storage as it is, and turns one that has none into 4 KiB.  Until it
 * is unlocked faults on the page wait, and so does what needs the file alone:
 * truncate, punch, fallocate, mmap, munmap, dontneed, dax_device_kill(); every
 * other call of this thread on the file gets -EDEADLK.  A vma that this thread
 * drops meanwhile is unmapped by the unlock.  The cookie holds the file.
 *
 * Context: sleeps for the entry, signals do not end that; entries of two files
 * must be locked in one order by all; GIL: no.
 * Return: 0; -EINVAL (order, or past the end of file), -EEXIST (4 KiB entries
 * stand in the 2 MiB), -EBUSY (the file has a real mapping: who touches its
 * memory would wait and could not be refused), -EIO (a foreign word in the tree),
 * -ENOMEM, -EDEADLK (the thread holds one of this file, or is in its block map),
 * -ESTALE.
 * Kernel: dax_lock_mapping_entry() (v6.0).
 * Since: 0.2
 */
DAX_API int dax_lock_mapping_entry(struct dax_mapping *mapping,
				   dax_pgoff_t index, unsigned int order,
				   struct dax_entry_info *row,
				   struct dax_entry_cookie **ret_cookie);

/**
 * dax_unlock_mapping_entry() - unlock it, in the thread that locked it
 * dax_drop_mapping_entry() - unlock it for a thread that has ended or forgotten
 * it; that thread must not be unlocking it itself
 *
 * Context: may sleep; GIL: no.
 * Return: 0, and the cookie is gone; -EPERM (unlock: another thread locked it),
 * -ESTALE (after fork).
 * Since: 0.2
 */
DAX_API int dax_unlock_mapping_entry(struct dax_entry_cookie *cookie);
DAX_API int dax_drop_mapping_entry(struct dax_entry_cookie *cookie);

/**
 * dax_mapping_extents() - what the block map says of the file, merged
 * @mapping: file
 * @pos: in: first byte to look at; out: where to go on
 * @buf: receives rows in order of offset, holes included
 * @nr: rows @buf can take
 *
 * Blocks taken ahead of stores are given back first, or are the file's.
 *
 * Context: i_rwsem shared, exclusive for that; GIL: no.
 * Return: rows filled, 0 at the end of file; -EINVAL, -EIO, -EDEADLK,
 * -ESTALE, -ENOMEM, or what the block map returned.
 * Since: 0.1
 */
DAX_API int64_t dax_mapping_extents(struct dax_mapping *mapping,
				    dax_loff_t *pos, struct dax_extent *buf,
				    size_t nr);

/**
 * dax_mapping_stats() - counters and bytes by kind
 * @mapping: file
 * @values: receives up to @nr values in the order of dax_stat_name()
 * @nr: number of values @values can take
 *
 * Context: any; exact when no call is in progress on the file.
 * Return: number of values there are.
 * Since: 0.1
 */
DAX_API size_t dax_mapping_stats(struct dax_mapping *mapping,
				 uint64_t *values, size_t nr);

/* Name of statistic @i, NULL past the last.  Context: any.  Since: 0.1 */
DAX_API const char *dax_stat_name(size_t i);

/* Name of a fallback reason, "none" for 0, NULL if unknown.  Context: any.
 * Since: 0.1 */
DAX_API const char *dax_fallback_reason_name(int reason);

/* ---- vmas (mappings of memory) ---------------------------------------- */

/**
 * dax_vma_new() - map a range of a file
 * @ret_vma: receives the vma
 * @mapping: file
 * @attr: range, access, sharing, page sizes; who serves faults
 *
 * Soft: the page table is the library's own, loads and stores are the calls
 * dax_vma_read() and dax_vma_write().  Real (since 0.3): it has an address
 * (dax_vma_address()), loads and stores are the CPU's, and one that cannot be
 * served is SIGBUS.  The block map then answers in a thread of the library or in
 * a signal handler, and must not wait for who touches memory: it takes no GIL.
 * The range may reach beyond the end of file, as with mmap(2).
 *
 * With DAX_VM_SYNC (since 0.2; kernel: MAP_SYNC) no store is let through before
 * the block map has saved where its block is: a store to an extent that is
 * F_NEW or F_DIRTY calls the block map's sync first, and a failure of that is
 * the fault's.  What was stored is then durable when its cache lines are
 * flushed, without fsync.
 *
 * Context: invalidate_lock exclusive for a moment; may sleep; GIL: no.
 * Return: 0; -EINVAL (offset not a multiple of 4096, length 0, unknown flags,
 * SYNC without SHARED and WRITE, unknown delivery, an address for a real one),
 * -EOPNOTSUPP (SYNC: the device is not persistent memory, or the policy is
 * page-cache, or the mapping real; real: the kernel has no userfaultfd(2) with
 * write protection, or the device's alignment asks for DAX_PAGES_PMD),
 * -EOVERFLOW (offset + length beyond 2^63-4096, or longer than 128 TiB),
 * -ENOMEM, -EROFS (shared and writable on a read-only device), -EDEADLK,
 * -ESTALE; real: -EPERM (userfaultfd(2) is not allowed), -EACCES (private and
 * writable: /proc/self/pagemap cannot be read), -EMFILE, -ENFILE (4096 of them).
 * Kernel: mmap(2); dax_finish_sync_fault() (v4.15).
 * Since: 0.1
 */
DAX_API int dax_vma_new(struct dax_vma **ret_vma, struct dax_mapping *mapping,
			const struct dax_vma_attr *attr);

/* References.  The last put unmaps.  Context: may sleep; GIL: no.  Since: 0.1 */
DAX_API void dax_vma_get(struct dax_vma *vma);
DAX_API void dax_vma_put(struct dax_vma *vma);

/* Context: any.  Since: 0.1 */
DAX_API struct dax_mapping *dax_vma_mapping(const struct dax_vma *vma);
DAX_API uint64_t dax_vma_length(const struct dax_vma *vma);	/* bytes */
DAX_API dax_loff_t dax_vma_offset(const struct dax_vma *vma);	/* bytes */

/* Where its first byte is, for loads and stores of the CPU; NULL: it is soft.
 * Good until the last reference is put.  Context: any.  Since: 0.3 */
DAX_API void *dax_vma_address(const struct dax_vma *vma);

/*
 * How it is found out what the CPU stored to, for fsync: "wp-async" and
 * "write-protect" know it by page, "conservative" takes all blocks that are mapped for
 * stored to.  NULL: the mapping is soft, read-only or private.  Context: any.
 * Since: 0.3
 */
DAX_API const char *dax_vma_dirty_tracking(const struct dax_vma *vma);

/**
 * dax_vma_fault() - one page fault: one pass through dax_iomap_fault()
 * @vma: mapping of memory
 * @pgoff: page of the FILE; must lie in the vma
 * @write: 0 load, 1 store
 * @info: receives details, or NULL
 *
 * With DAX_PAGES_AUTO a 2 MiB fault that falls back is followed by the 4 KiB
 * fault, as in the kernel; with DAX_PAGES_PMD it is returned.
 *
 * Context: invalidate_lock shared, then the entry's lock; may sleep; GIL: no.
 * Return: DAX_VM_FAULT_* bits (>= 0); -EFAULT (page outside the vma), -EACCES
 * (the vma does not allow it), -EDEADLK (called from the file's block map),
 * -ESTALE (after fork), -ENOMEM.
 * Kernel: dax_iomap_fault() (v4.14).
 * Since: 0.1
 */
DAX_API int dax_vma_fault(struct dax_vma *vma, dax_pgoff_t pgoff, int write,
			  struct dax_fault_info *info);

/**
 * dax_vma_fault_range() - touch pages one after the other
 * @vma: mapping of memory
 * @pgoff: first page of the file
 * @nr_pages: pages
 * @write: 0 load, 1 store
 * @latencies: NULL, or room for @nr_latencies values: ns of each fault taken
 * @nr_latencies: what @latencies can take; faults beyond are not recorded
 * @info: details of the fault that failed, or NULL
 *
 * A touch is the look-up and the fault of a load or store, without its bytes.
 * A page that is mapped already (writable, if @write) takes no fault; a store
 * takes as many as the policy needs (page-cache: two).
 *
 * Context: as dax_vma_fault(), for each page.
 * Return: number of faults taken; errors as dax_vma_fault(), and -EIO,
 * -ENOSPC, -ENXIO, ... when a fault ended in SIGBUS, -ENOMEM when in OOM.
 * -EAGAIN: a 2 MiB fault fell back (DAX_PAGES_PMD; @info has the reason).
 * -EINTR: a signal handler ran while a store waited for a thaw; faults before
 * it are not counted.
 * Kernel: dax_iomap_fault() (v4.14), once for each fault.
 * Since: 0.1
 */
DAX_API int64_t dax_vma_fault_range(struct dax_vma *vma, dax_pgoff_t pgoff,
				    uint64_t nr_pages, int write,
				    uint64_t *latencies, size_t nr_latencies,
				    struct dax_fault_info *info);

/**
 * dax_vma_fault_many() - touch the pages listed, in that order
 * @pgoffs: pages of the file
 * @nr: how many
 *
 * Context, Return: as dax_vma_fault_range().
 * Since: 0.1
 */
DAX_API int64_t dax_vma_fault_many(struct dax_vma *vma,
				   const dax_pgoff_t *pgoffs, size_t nr,
				   int write, uint64_t *latencies,
				   size_t nr_latencies,
				   struct dax_fault_info *info);

/**
 * dax_vma_read() - load bytes through the page table, faulting as needed
 * dax_vma_write() - store bytes
 * @vma: mapping of memory
 * @buf: the caller's memory
 * @len: bytes
 * @offset: bytes from the start of the vma
 * @info: details of the fault that failed, or NULL
 *
 * Context: as dax_vma_fault(); invalidate_lock shared up to the last byte of a
 * page; GIL: no.
 * Return: @len, or fewer if a fault failed after some bytes were done;
 * -EFAULT (range leaves the vma, or @buf cannot be accessed), -EACCES, and as dax_vma_fault_range().
 * Since: 0.1
 */
DAX_API ssize_t dax_vma_read(struct dax_vma *vma, void *buf, size_t len,
			     uint64_t offset, struct dax_fault_info *info);
DAX_API ssize_t dax_vma_write(struct dax_vma *vma, const void *buf,
			      size_t len, uint64_t offset,
			      struct dax_fault_info *info);

/**
 * dax_vma_dontneed() - drop page-table leaves, private copies included
 * @vma: mapping of memory
 * @offset: bytes from the start of the vma, multiple of 4096
 * @len: bytes
 *
 * As madvise(MADV_DONTNEED): the file and its entries stay, the next access
 * faults again.
 *
 * Context: invalidate_lock exclusive; may sleep; GIL: no.
 * Return: 0; -EINVAL (alignment), -EFAULT (range leaves the vma), -EDEADLK,
 * -ESTALE, -ENOMEM.
 * Kernel: madvise_dontneed_single_vma() (v4.14).
 * Since: 0.1
 */
DAX_API int dax_vma_dontneed(struct dax_vma *vma, uint64_t offset,
			     uint64_t len);

/**
 * dax_vma_pagemap() - which frame each page shows, as /proc/self/pagemap
 * @vma: mapping of memory
 * @pgoff: first page of the file
 * @pfns: receives one number per page: the PFN, or 0 where nothing is mapped
 * @nr_pages: pages
 *
 * A page inside a 2 MiB leaf has the leaf's PFN plus its distance.  Frames of
 * private copies and page-cache pages have bit 51 set.
 *
 * Context: invalidate_lock shared; GIL: no.
 * Return: 0; -EFAULT (range leaves the vma), -EDEADLK, -ESTALE, -ENOMEM.
 * Kernel: pagemap_read() of fs/proc/task_mmu.c (v4.14).
 * Since: 0.1
 */
DAX_API int dax_vma_pagemap(struct dax_vma *vma, dax_pgoff_t pgoff,
			    dax_pfn_t *pfns, uint64_t nr_pages);

/**
 * dax_vma_memory() - what is mapped, by kind
 * @vma: mapping of memory
 * @ret_memory: receives the bytes of each kind
 *
 * A page that nobody has touched counts nowhere.  Data counts as mapped, in
 * memory or not.  What the engine itself takes is in dax_mapping_stats().
 *
 * Context: invalidate_lock shared; as long as there are leaves; GIL: no.
 * Return: 0; -EDEADLK, -ESTALE, -ENOMEM; real and private: what opening
 * /proc/self/pagemap says.
 * Since: 0.3
 */
DAX_API int dax_vma_memory(struct dax_vma *vma,
			   struct dax_memory_info *ret_memory);

/* ---- trace events ----------------------------------------------------- */

/**
 * dax_trace_start() - record the fs_dax events of one file or of all
 * @ret_trace: receives the trace
 * @mapping: file, or NULL: all files of the process, those to come too
 * @nr_events: events kept per thread at least, at most 2^24: 15 or more, a
 *	power of two less one; 0: 65535
 *
 * Every thread has a ring of its own, made at its first event and shared by
 * all traces that run; when it is full the oldest events go.  A ring takes 96
 * bytes per event, and memory only for what was written.  The trace holds no
 * reference to @mapping.
 *
 * Context: any; GIL: no.
 * Return: 0; -EINVAL (@nr_events too large), -EBUSY (64 traces exist already),
 * -ENOMEM, -ESTALE (@mapping was made before fork()).
 * Kernel: include/trace/events/fs_dax.h (v4.14).
 * Since: 0.2
 */
DAX_API int dax_trace_start(struct dax_trace **ret_trace,
			    struct dax_mapping *mapping, size_t nr_events);

/**
 * dax_trace_stop() - record no more; stopping twice is stopping once
 *
 * What other threads are just about to record may be missing.
 *
 * Context: any; GIL: no.  Since: 0.2
 */
DAX_API void dax_trace_stop(struct dax_trace *trace);

/**
 * dax_trace_read() - take the events that were not read yet
 * @trace: running or stopped
 * @buf: receives events, thread by thread; those of one thread are in order,
 *	those of several are to be sorted by time
 * @nr: events @buf can take
 *
 * Threads that record are not stopped; no event is ever half of one and half
 * of another.  Events of threads that have ended are kept.  What is recorded
 * after the first call is left for later, until a call returns fewer than @nr:
 * then all that there was has been read.
 *
 * Context: any; GIL: no.
 * Return: events read, 0 to @nr; -ESTALE (after fork).
 * Since: 0.2
 */
DAX_API int64_t dax_trace_read(struct dax_trace *trace,
			       struct dax_trace_event *buf, size_t nr);

/**
 * dax_trace_lost() - events that were gone before they were read
 *
 * Overwritten in full rings, whichever of the files traced at that time they
 * were of, or dropped for want of memory for a ring.
 *
 * Context: any; GIL: no.  Return: events since dax_trace_start(); 0 after
 * fork.  Since: 0.2
 */
DAX_API uint64_t dax_trace_lost(struct dax_trace *trace);

/* Stop the trace and free it; NULL is allowed.  Context: any; GIL: no; no
 * other call on @trace may be in progress.  Since: 0.2 */
DAX_API void dax_trace_free(struct dax_trace *trace);

/* Name of an event, "dax_pte_fault" for 0, NULL if unknown.  Context: any.
 * Since: 0.2 */
DAX_API const char *dax_trace_event_name(int event);

#ifdef __cplusplus
}
#endif

#endif
