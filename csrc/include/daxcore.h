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
 * Return: a static string, "0.1.0".
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
 * size 0 of an empty file, size beyond the node), -ENOENT, -EEXIST, -EACCES,
 * -EISDIR, -ENODEV (neither a regular file nor a device-dax node, or a node
 * in system-ram mode), -EBUSY (already open; the message names the holder),
 * -EROFS (write asked of a read-only file system), -ENOSPC, -ENOMEM, -EFBIG.
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
 * Return: 0; as dax_device_memory(), and -EOPNOTSUPP (no cache-line write-back
 * is known for this CPU).
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
/* How stores become durable, and why so, in one sentence.  Since: 0.2 */
DAX_API const char *dax_device_durability(const struct dax_device *dev);
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

/* References.  The last put frees the tree and, by ops->free, the block map.
 * Context: put may sleep; GIL: no.  Since: 0.1 */
DAX_API void dax_mapping_get(struct dax_mapping *mapping);
DAX_API void dax_mapping_put(struct dax_mapping *mapping);

/* Context: any.  Since: 0.1 */
DAX_API dax_loff_t dax_mapping_size(const struct dax_mapping *mapping);
DAX_API unsigned int dax_mapping_policy(const struct dax_mapping *mapping);
DAX_API struct dax_device *dax_mapping_device(const struct dax_mapping *mapping);

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
 * Since: 0.1
 */
DAX_API ssize_t dax_mapping_pwrite(struct dax_mapping *mapping,
				   const void *buf, size_t len,
				   dax_loff_t pos);

/**
 * dax_mapping_truncate() - set the size of the file
 *
 * Shrinking removes entries, page-table leaves (private copies too) and
 * blocks beyond the new end, and zeroes the rest of the last page.
 *
 * Context: i_rwsem and invalidate_lock exclusive; may sleep; GIL: no.
 * Return: 0; -EINVAL (size negative), -EFBIG (above 2^63-4096), -EROFS,
 * -ENXIO, -ENOMEM, -EDEADLK, -ESTALE, or what the block map returned.
 * Since: 0.1
 */
DAX_API int dax_mapping_truncate(struct dax_mapping *mapping,
				 dax_loff_t size);

/**
 * dax_mapping_fallocate() - allocate zeroed blocks; grows the file if needed
 * dax_mapping_punch_hole() - free the whole pages inside a range, zero the
 * partial ones at its edges; the size stays
 *
 * Context: i_rwsem and invalidate_lock exclusive; may sleep; GIL: no.
 * Return: 0; -EINVAL (negative, or length 0), -EFBIG, -ENOSPC, -EROFS,
 * -ENXIO, -ENOMEM, -EOPNOTSUPP (block map has no such call), -EDEADLK,
 * -ESTALE, or what the block map returned.
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
 * no.  Not from a block map of the file.
 * Return: entries written; -EINVAL (alignment), -ENXIO (device dead), -EIO,
 * -ENOSPC and what else fdatasync(2) says, -EDEADLK, -ESTALE, -ENOMEM.  What
 * could not be made durable stays dirty: a retry stores it again.
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
 * Since: 0.2
 */
DAX_API int dax_mapping_fsync(struct dax_mapping *mapping, uint32_t *since);

/* Where a cursor of dax_mapping_fsync() starts.  Context: any.  Since: 0.2 */
DAX_API uint32_t dax_mapping_wb_err(const struct dax_mapping *mapping);

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
 * dax_mapping_extents() - what the block map says of the file, merged
 * @mapping: file
 * @pos: in: first byte to look at; out: where to go on
 * @buf: receives rows in order of offset, holes included
 * @nr: rows @buf can take
 *
 * Context: i_rwsem shared; GIL: no.
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

/* Name of a fallback reason, "none" for 0, NULL if unknown.  Since: 0.1 */
DAX_API const char *dax_fallback_reason_name(int reason);

/* ---- vmas (soft memory mappings) -------------------------------------- */

/**
 * dax_vma_new() - map a range of a file behind a software page table
 * @ret_vma: receives the vma
 * @mapping: file
 * @attr: range, access, sharing, page sizes
 *
 * Loads and stores are the calls dax_vma_read() and dax_vma_write().  The
 * range may reach beyond the end of file, as with mmap(2).
 *
 * Context: invalidate_lock exclusive for a moment; may sleep; GIL: no.
 * Return: 0; -EINVAL (offset not a multiple of 4096, length 0, unknown flags),
 * -EOVERFLOW (offset + length beyond 2^63-4096, or longer than 128 TiB),
 * -ENOMEM, -EROFS (shared and writable on a read-only device), -EDEADLK,
 * -ESTALE.
 * Since: 0.1
 */
DAX_API int dax_vma_new(struct dax_vma **ret_vma, struct dax_mapping *mapping,
			const struct dax_vma_attr *attr);

/* References.  The last put unmaps.  Context: may sleep; GIL: no. */
DAX_API void dax_vma_get(struct dax_vma *vma);
DAX_API void dax_vma_put(struct dax_vma *vma);

DAX_API struct dax_mapping *dax_vma_mapping(const struct dax_vma *vma);
DAX_API uint64_t dax_vma_length(const struct dax_vma *vma);	/* bytes */
DAX_API dax_loff_t dax_vma_offset(const struct dax_vma *vma);	/* bytes */

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
 * A page that is mapped already (writable, if @write) takes no fault; a store
 * takes as many as the policy needs (page-cache: two).
 *
 * Return: number of faults taken; errors as dax_vma_fault(), and -EIO,
 * -ENOSPC, -ENXIO, ... when a fault ended in SIGBUS, -ENOMEM when in OOM.
 * -EAGAIN: a 2 MiB fault fell back (DAX_PAGES_PMD; @info has the reason).
 * Since: 0.1
 */
DAX_API int64_t dax_vma_fault_range(struct dax_vma *vma, dax_pgoff_t pgoff,
				    uint64_t nr_pages, int write,
				    uint64_t *latencies, size_t nr_latencies,
				    struct dax_fault_info *info);

/**
 * dax_vma_fault_many() - touch the pages listed in @pgoffs, in that order
 *
 * As dax_vma_fault_range().  Since: 0.1
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
 * Return: @len, or fewer if a fault failed after some bytes were done;
 * -EFAULT (range leaves the vma), -EACCES, and as dax_vma_fault_range().
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
 * Return: 0; -EINVAL (alignment), -EFAULT (range leaves the vma), -EDEADLK,
 * -ESTALE, -ENOMEM.
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
 * Return: 0; -EFAULT (range leaves the vma), -EDEADLK, -ESTALE, -ENOMEM.
 * Since: 0.1
 */
DAX_API int dax_vma_pagemap(struct dax_vma *vma, dax_pgoff_t pgoff,
			    dax_pfn_t *pfns, uint64_t nr_pages);

#ifdef __cplusplus
}
#endif

#endif
