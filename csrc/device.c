/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device.c -- open a file, a memfd or a /dev/dax node as a storage window
 *
 * Owns: the window, the descriptor and its lock, the free-block bitmaps.
 * Locks: dev->lock guards the growth of the backing; inside a file's locks.
 * Kernel: drivers/dax/super.c, dax_direct_access() (v4.14).
 * Differs: the size of a device never changes; readers of a dying device are
 *          drained through the locks of its files (mapping.c), which every
 *          user of the window holds.
 */
#include "device.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copy_mc.h"
#include "errormsg.h"
#include "flush.h"
#include "frames.h"
#include "persist_record.h"

enum { PREPARE_CHUNK = 8 << 20 };

/* No window can be longer than the lower half of the address space. */
static const uint64_t max_window = UINT64_C(1) << 47;

static struct dax_device *device_alloc(const char *path, enum device_kind kind)
{
	struct dax_device *dev = dax_zalloc(sizeof(*dev));

	if (!dev)
		return NULL;
	dev->path = dax_zalloc(strlen(path) + 1);
	if (!dev->path) {
		dax_free(dev);
		return NULL;
	}
	strcpy(dev->path, path);
	dev->kind = kind;
	dev->alignment = DAX_PAGE_SIZE;
	dev->fork_generation = sys_fork_generation;
	dev->fd = -1;
	atomic_init(&dev->refs, 1);
	atomic_init(&dev->alive, true);
	return dev;
}

/* Words for the bits of all pages, in whole groups of 64 words. */
static size_t unsynced_words(const struct dax_device *dev)
{
	return (dev->size / DAX_PAGE_SIZE + 4095) / 4096 * 64;
}

/* With those for the bits of the groups behind them. */
static size_t unsynced_bytes(const struct dax_device *dev)
{
	size_t words = unsynced_words(dev);

	return (words + (words / 64 + 63) / 64) * sizeof(uint64_t);
}

static void device_free(struct dax_device *dev)
{
	if (dev->fd >= 0)
		sys_close(dev->fd);
	sys_unreserve(dev->unsynced, unsynced_bytes(dev));
	sys_unreserve(dev->syncing, unsynced_bytes(dev));
	record_log_free(dev->record);
	dax_free(dev->path);
	dax_free(dev);
}

static int check_size(uint64_t size, uint64_t alignment)
{
	if (size == 0)
		return dax_error(-EINVAL, "size is 0: a device needs at least one page");
	if (size % alignment)
		return dax_error(-EINVAL, "size %" PRIu64 " is not a multiple of %"
				 PRIu64, size, alignment);
	if (size > max_window)
		return dax_error(-EFBIG, "size %" PRIu64 " is more than one mapping "
				 "can hold (128 TiB)", size);
	return 0;
}

/* ---- durability -------------------------------------------------------- */

static void set_persist(struct dax_device *dev, const struct persist_ops *ops,
			const char *fmt, ...) __printf(3, 4);

static void set_persist(struct dax_device *dev, const struct persist_ops *ops,
			const char *fmt, ...)
{
	va_list args;

	dev->persist = ops;
	va_start(args, fmt);
	vsnprintf(dev->durability, sizeof(dev->durability), fmt, args);
	va_end(args);
}

static int choose_fdatasync(struct dax_device *dev, const char *why)
{
	void *unsynced, *syncing;

	set_persist(dev, &persist_file, "fdatasync: a file behind the page cache (%s)",
		    why);
	if (sys_reserve(&unsynced, unsynced_bytes(dev)))
		goto err;
	dev->unsynced = unsynced;
	dev->unsynced_groups = dev->unsynced + unsynced_words(dev);
	if (sys_reserve(&syncing, unsynced_bytes(dev)))
		goto err;
	dev->syncing = syncing;
	dev->syncing_groups = dev->syncing + unsynced_words(dev);
	return 0;

err:
	return dax_error(-ENOMEM, "no address space to remember what of %" PRIu64
			 " bytes is not durable yet", dev->size);
}

static int map_shared(struct dax_device *dev, void **ret_window, int fd)
{
	int ret = sys_map_shared(ret_window, fd, dev->size, !dev->readonly);

	if (ret)
		return dax_error(ret, "%s: cannot map %" PRIu64 " bytes: %s", dev->path,
				 dev->size, strerror(-ret));
	return 0;
}

/* The kernel has granted MAP_SYNC. */
static int take_for_pmem(struct dax_device *dev, void *window)
{
	int ret = flush_check();

	if (ret) {
		sys_unreserve(window, dev->size);
		return ret;
	}
	set_persist(dev, &persist_pmem, "%s: %s", flush_select()->name,
		    dev->kind == DEVICE_DAX
			    ? "a /dev/dax node is persistent memory"
			    : "the file is persistent memory (MAP_SYNC)");
	return 0;
}

/* The window of a file, and what that says of its medium. */
static int map_file(struct dax_device *dev, void **ret_window)
{
	bool can_flush = flush_select();
	int ret;

	if (!dev->readonly && can_flush &&
	    !sys_map_sync(ret_window, dev->fd, dev->size))
		return take_for_pmem(dev, *ret_window);
	ret = map_shared(dev, ret_window, dev->fd);
	if (ret)
		return ret;
	if (dev->readonly) {
		set_persist(dev, &persist_memory, "none needed: the device is read-only");
		return 0;
	}
	ret = choose_fdatasync(dev, can_flush ? "mmap(2) does not grant MAP_SYNC"
					      : "no cache-line write-back is known for "
						"this CPU");
	if (ret)
		sys_unreserve(*ret_window, dev->size);
	return ret;
}

static int map_window(struct dax_device *dev, void **ret_window)
{
	if (dev->kind != DEVICE_MEMORY)
		return map_file(dev, ret_window);
	return map_shared(dev, ret_window, dev->fd);
}

/* Map the window, number its frames, count its blocks. */
static int device_map(struct dax_device *dev, bool stained)
{
	void *window;
	int ret = map_window(dev, &window);

	if (ret)
		return ret;
	dev->window = window;
	ret = frames_register(window, dev->size >> DAX_PAGE_SHIFT, &dev->pfn_base);
	if (ret)
		goto err_unmap;
	frames_set_device(dev->pfn_base, dev->size >> DAX_PAGE_SHIFT, dev);
	ret = blocks_init(&dev->blocks, dev->size >> DAX_PAGE_SHIFT, stained);
	if (ret)
		goto err_unregister;
	return 0;

err_unregister:
	frames_unregister(dev->pfn_base, dev->size >> DAX_PAGE_SHIFT);
err_unmap:
	sys_unreserve(window, dev->size);
	return ret;
}

/* ---- memory ------------------------------------------------------------ */

static int memory_setup(struct dax_device *dev, uint64_t size)
{
	int ret;

	dev->fd = sys_memfd("daxcore");
	if (dev->fd < 0)
		return dax_error(dev->fd, "cannot make a memfd: %s", strerror(-dev->fd));
	dev->size = size;
	ret = sys_truncate(dev->fd, size);
	if (!ret)
		ret = sys_seal_shrink(dev->fd);
	if (ret)
		return dax_error(ret, "cannot make a memfd of %" PRIu64 " bytes: %s",
				 size, strerror(-ret));
	return device_map(dev, false);
}

static int memory_open(struct dax_device **ret_dev, uint64_t size)
{
	struct dax_device *dev;
	int ret = check_size(size, DAX_PAGE_SIZE);

	if (ret)
		return ret;
	dev = device_alloc("memory", DEVICE_MEMORY);
	if (!dev)
		return dax_error(-ENOMEM, "no memory for a device");
	ret = memory_setup(dev, size);
	if (ret) {
		device_free(dev);
		return ret;
	}
	*ret_dev = dev;
	return 0;
}

int device_memory(struct dax_device **ret_dev, uint64_t size)
{
	int ret = memory_open(ret_dev, size);

	if (!ret)
		set_persist(*ret_dev, &persist_memory,
			    "none: memory, which is gone with the process");
	return ret;
}

int device_emulate_pmem(struct dax_device **ret_dev, uint64_t size)
{
	int ret = flush_check();

	if (!ret)
		ret = memory_open(ret_dev, size);
	if (!ret)
		set_persist(*ret_dev, &persist_pmem, "%s: memory treated as persistent, "
			    "gone with the process all the same",
			    flush_select()->name);
	return ret;
}

/* ---- one sparse file ------------------------------------------------------ */

/* Where the window is, and what that says of its medium. */
static int map_sparse(struct dax_device *dev, int fd)
{
	void *window;
	int ret = choose_fdatasync(dev, "a sparse file");

	if (ret)
		return ret;
	ret = map_shared(dev, &window, fd);
	if (ret)
		return ret;
	/* Or the kernel brings in the 2 MiB around each page touched. */
	sys_advise_random(window, dev->size);
	ret = frames_register(window, dev->size >> DAX_PAGE_SHIFT, &dev->pfn_base);
	if (ret) {
		sys_unreserve(window, dev->size);
		return ret;
	}
	dev->window = window;
	frames_set_device(dev->pfn_base, dev->size >> DAX_PAGE_SHIFT, dev);
	return 0;
}

int device_window(struct dax_device **ret_dev, const char *path, int fd,
		  uint64_t size, bool readonly)
{
	struct dax_device *dev = device_alloc(path, DEVICE_SPARSE);
	int ret;

	if (!dev)
		return dax_error(-ENOMEM, "no memory for a device");
	dev->size = size;
	dev->readonly = readonly;
	ret = map_sparse(dev, fd);
	if (ret) {
		device_free(dev);
		return ret;
	}
	dev->fd = fd;
	*ret_dev = dev;
	return 0;
}

int device_make_writable(struct dax_device *dev, int fd)
{
	int ret = sys_remap_shared(dev->window, fd, dev->size);

	if (!ret) {
		sys_advise_random(dev->window, dev->size);
		ret = sys_dup_over(fd, dev->fd);
	}
	if (ret < 0)
		return dax_error(ret, "%s: cannot map it for writing: %s", dev->path,
				 strerror(-ret));
	dev->readonly = false;
	return 0;
}

/* ---- recorded memory ------------------------------------------------------- */

int device_record(struct dax_device **ret_dev, uint64_t size)
{
	struct record_log *log = NULL;
	int ret = record_log_new(&log);

	if (ret)
		return ret;
	ret = memory_open(ret_dev, size);
	if (ret) {
		record_log_free(log);
		return ret;
	}
	(*ret_dev)->record = log;
	set_persist(*ret_dev, &persist_record, "recorded: memory treated as persistent, "
		    "gone with the process all the same");
	return 0;
}

/* ---- /dev/dax ---------------------------------------------------------- */

static uint64_t read_sysfs_u64(const char *dir, const char *name)
{
	char path[192], line[64];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (sys_read_line(path, line, sizeof(line)))
		return 0;
	return strtoull(line, NULL, 0);
}

/* Size and alignment of a device-dax node, from sysfs. */
static int dax_node_setup(struct dax_device *dev,
			  const struct sys_file_info *info, uint64_t size)
{
	char dir[96], path[128], subsystem[192];
	uint64_t node_size;

	snprintf(dir, sizeof(dir), "/sys/dev/char/%u:%u", info->rdev_major,
		 info->rdev_minor);
	snprintf(path, sizeof(path), "%s/subsystem", dir);
	if (sys_read_link(path, subsystem, sizeof(subsystem)) ||
	    strcmp(strrchr(subsystem, '/') ? strrchr(subsystem, '/') : "", "/dax"))
		return dax_error(-ENODEV, "%s: a character device, but not of "
				 "device-dax (a /dev/daxX.Y node is needed)", dev->path);
	node_size = read_sysfs_u64(dir, "size");
	dev->alignment = read_sysfs_u64(dir, "align");
	if (!dev->alignment)	/* before Linux 5.10 it is the region's */
		dev->alignment = read_sysfs_u64(dir, "dax_region/align");
	if (!node_size || !dev->alignment)
		return dax_error(-ENODEV, "%s: %s has no size and align (in "
				 "system-ram mode the node cannot be used: daxctl "
				 "reconfigure-device --mode=devdax)", dev->path, dir);
	dev->size = size ? size : node_size;
	if (dev->size > node_size)
		return dax_error(-EINVAL, "%s: size %" PRIu64 " is beyond the node's %"
				 PRIu64, dev->path, dev->size, node_size);
	return check_size(dev->size, dev->alignment);
}

/* ---- regular files ----------------------------------------------------- */

static int file_setup(struct dax_device *dev, const struct sys_file_info *info,
		      uint64_t size)
{
	int ret;

	dev->size = size ? size : info->size;
	ret = check_size(dev->size, DAX_PAGE_SIZE);
	if (ret || dev->size <= info->size)
		return ret;
	if (dev->readonly)
		return dax_error(-EINVAL, "%s: size %" PRIu64 " is beyond the file's %"
				 PRIu64 " and the device is read-only (pass overwrite "
				 "to let it grow)", dev->path, dev->size, info->size);
	ret = sys_truncate(dev->fd, dev->size);
	if (ret)
		return dax_error(ret, "%s: cannot grow to %" PRIu64 " bytes: %s",
				 dev->path, dev->size, strerror(-ret));
	return 0;
}

static int device_setup(struct dax_device *dev, uint64_t size, bool made)
{
	struct sys_file_info info;
	int ret = sys_file_info(dev->fd, &info);

	if (ret)
		return dax_error(ret, "%s: %s", dev->path, strerror(-ret));
	if (info.kind == SYS_FILE_DIR)
		return dax_error(-EISDIR, "%s: a directory; a file or a /dev/dax node "
				 "is needed", dev->path);
	if (info.kind == SYS_FILE_OTHER)
		return dax_error(-ENODEV, "%s: neither a regular file nor a /dev/dax "
				 "node", dev->path);
	ret = sys_lock_file(dev->fd);
	if (ret == -EBUSY)
		return dax_error(ret, "%s: already open (by process %d)", dev->path,
				 sys_lock_holder(dev->fd));
	if (ret)
		return dax_error(ret, "%s: cannot lock: %s", dev->path, strerror(-ret));
	dev->kind = info.kind == SYS_FILE_CHAR ? DEVICE_DAX : DEVICE_FILE;
	ret = dev->kind == DEVICE_DAX ? dax_node_setup(dev, &info, size)
				      : file_setup(dev, &info, size);
	if (ret)
		return ret;
	ret = device_map(dev, !made);
	if (ret && dev->kind == DEVICE_FILE && dev->size > info.size)
		sys_truncate(dev->fd, info.size);
	return ret;
}

/* The descriptor, or -errno; *ret_made: the file was made by us. */
static int open_backing(const char *path, unsigned int flags, bool *ret_made)
{
	int fd = -EEXIST;

	*ret_made = false;
	if (flags & DAX_DEVICE_CREATE) {
		fd = sys_create_new(path);
		*ret_made = fd >= 0;
		if (fd != -EEXIST || !(flags & DAX_DEVICE_OVERWRITE))
			return fd;
	}
	return sys_open(path, flags & DAX_DEVICE_OVERWRITE);
}

static int open_failed(const char *path, int err, unsigned int flags)
{
	if (err == -EEXIST)
		return dax_error(err, "%s: exists (pass overwrite if its content is "
				 "disposable)", path);
	if (err == -ENOENT && !(flags & DAX_DEVICE_CREATE))
		return dax_error(err, "%s: no such file (pass create to make it)", path);
	return dax_error(err, "%s: %s", path, strerror(-err));
}

int device_open(struct dax_device **ret_dev, const char *path, uint64_t size,
		unsigned int flags)
{
	struct dax_device *dev;
	bool made;
	int ret;

	if (flags & ~(unsigned int)(DAX_DEVICE_CREATE | DAX_DEVICE_OVERWRITE))
		return dax_error(-EINVAL, "flags %#x: unknown bits", flags);
	if ((flags & DAX_DEVICE_CREATE) && !(flags & DAX_DEVICE_OVERWRITE) && !size)
		return dax_error(-EINVAL, "%s: a new file needs a size", path);
	dev = device_alloc(path, DEVICE_FILE);
	if (!dev)
		return dax_error(-ENOMEM, "no memory for a device");
	dev->fd = open_backing(path, flags, &made);
	if (dev->fd < 0) {
		ret = open_failed(path, dev->fd, flags);
		goto err_free;
	}
	dev->readonly = flags == 0;
	ret = copy_mc_arm();
	if (!ret)
		ret = device_setup(dev, size, made);
	if (ret)
		goto err_unlink;
	*ret_dev = dev;
	return 0;

err_unlink:
	if (made)
		sys_unlink(path);
err_free:
	device_free(dev);
	return ret;
}

void device_get(struct dax_device *dev)
{
	atomic_fetch_add_explicit(&dev->refs, 1, memory_order_relaxed);
}

void device_put(struct dax_device *dev)
{
	if (atomic_fetch_sub_explicit(&dev->refs, 1, memory_order_acq_rel) != 1)
		return;
	frames_unregister(dev->pfn_base, dev->size >> DAX_PAGE_SHIFT);
	if (dev->kind != DEVICE_SPARSE)
		blocks_fini(&dev->blocks);
	sys_unreserve(dev->window, dev->size);
	device_free(dev);
}

/* ---- use ---------------------------------------------------------------- */

int64_t direct_access(struct dax_device *dev, dax_pgoff_t pgoff,
		      uint64_t nr_pages, void **ret_kaddr, dax_pfn_t *ret_pfn)
{
	uint64_t total = dev->size >> DAX_PAGE_SHIFT;

	if (unlikely(!smp_load_acquire(&dev->alive)))
		return dax_error(-ENXIO, "%s: the device is dead", dev->path);
	if (unlikely(nr_pages == 0))
		return dax_error(-EINVAL, "%s: 0 pages asked for", dev->path);
	if (unlikely(pgoff >= total))
		return dax_error(-ERANGE, "%s: page %" PRIu64 " is beyond the device's %"
				 PRIu64, dev->path, pgoff, total);
	if (ret_kaddr)
		*ret_kaddr = dev->window + (pgoff << DAX_PAGE_SHIFT);
	if (ret_pfn)
		*ret_pfn = dev->pfn_base + pgoff;
	return (int64_t)(nr_pages < total - pgoff ? nr_pages : total - pgoff);
}

int device_verify(struct dax_device *dev)
{
	struct sys_file_info info;
	int ret;

	if (likely(dev->kind != DEVICE_FILE))
		return 0;
	ret = sys_file_info(dev->fd, &info);
	if (ret)
		return dax_error(ret, "%s: %s", dev->path, strerror(-ret));
	if (info.size < dev->size)
		return dax_error(-EIO, "%s: somebody truncated the backing file to %"
				 PRIu64 " bytes, the device has %" PRIu64, dev->path,
				 info.size, dev->size);
	return 0;
}

static int allocate_range(struct dax_device *dev, uint64_t from, uint64_t end)
{
	int ret = sys_allocate(dev->fd, from, end - from);

	if (ret == -EOPNOTSUPP)	/* then a full file system is found by a store */
		return 0;
	if (ret)
		return dax_error(ret, "%s: cannot allocate %" PRIu64 " bytes of its "
				 "file: %s", dev->path, end - from, strerror(-ret));
	return 0;
}

/*
 * dev->lock held.  Blocks are handed out from the front, so the backing is
 * allocated from the front too, a chunk ahead if there is room.  A store far
 * beyond (an embedder's block map) allocates just its own range.
 */
static int allocate_backing(struct dax_device *dev, uint64_t offset,
			    uint64_t end)
{
	uint64_t from = READ_ONCE(dev->prepared);
	uint64_t chunk = end + PREPARE_CHUNK < dev->size ? end + PREPARE_CHUNK
							 : dev->size;
	int ret;

	if (end <= from)
		return 0;
	if (offset > from + PREPARE_CHUNK)
		return allocate_range(dev, offset, end);
	ret = allocate_range(dev, from, chunk);
	if (ret == -ENOSPC) {
		chunk = end;
		ret = allocate_range(dev, from, chunk);
	}
	if (!ret)
		WRITE_ONCE(dev->prepared, chunk);
	return ret;
}

int device_prepare_store(struct dax_device *dev, uint64_t offset, uint64_t len)
{
	int ret;

	if (unlikely(dev->readonly))
		return dax_error(-EROFS, "%s: the device is read-only", dev->path);
	if (unlikely(!smp_load_acquire(&dev->alive)))
		return dax_error(-ENXIO, "%s: the device is dead", dev->path);
	if (dev->kind != DEVICE_FILE || offset + len <= READ_ONCE(dev->prepared))
		return 0;
	mutex_lock(&dev->lock);
	ret = device_verify(dev);
	if (!ret)
		ret = allocate_backing(dev, offset, offset + len);
	mutex_unlock(&dev->lock);
	return ret;
}

/* ---- owners and pins by frame number ---------------------------------------- */

/* Blocks of a sparse file are the file system's: it has no words. */
static bool has_word(const struct frame_table *frames, uint64_t i)
{
	return i < frames->nr;
}

static uint64_t pfn_word(dax_pfn_t pfn)
{
	struct dax_device *dev;

	if (likely(!READ_ONCE(frames_ever_shared)))
		return 0;
	dev = pfn_device(pfn);
	if (!has_word(&dev->blocks.frames, pfn - dev->pfn_base))
		return 0;
	return frame_word(&dev->blocks.frames, pfn - dev->pfn_base);
}

bool pfn_is_shared(dax_pfn_t pfn)
{
	return pfn_word(pfn) & FRAME_SHARES;
}

bool pfn_may_move(dax_pfn_t pfn)
{
	return pfn_word(pfn);
}

bool pfn_is_pinned(dax_pfn_t pfn)
{
	struct dax_device *dev = pfn_device(pfn);
	const struct frame_table *frames = &dev->blocks.frames;

	return frames_any_buffer() && has_word(frames, pfn - dev->pfn_base) &&
	       frame_is_pinned(frames, pfn - dev->pfn_base);
}

void pfn_pin(dax_pfn_t pfn, uint64_t nr)
{
	struct dax_device *dev = pfn_device(pfn);

	blocks_pin(&dev->blocks, pfn - dev->pfn_base, nr);
}

void pfn_unpin(dax_pfn_t pfn, uint64_t nr)
{
	struct dax_device *dev = pfn_device(pfn);

	blocks_unpin(&dev->blocks, pfn - dev->pfn_base, nr);
}

/* ---- beside files --------------------------------------------------------- */

/* May bytes [offset, offset + len) be touched? */
static int check_touch(struct dax_device *dev, uint64_t offset, uint64_t len)
{
	if (dev->fork_generation != sys_fork_generation)
		return dax_error(-ESTALE, "%s: the device was opened before fork()",
				 dev->path);
	if (!smp_load_acquire(&dev->alive))
		return dax_error(-ENXIO, "%s: the device is dead", dev->path);
	if (offset > dev->size || len > dev->size - offset)
		return dax_error(-ERANGE, "%s: %" PRIu64 " bytes at %" PRIu64 " are not "
				 "all on the device, which has %" PRIu64, dev->path, len,
				 offset, dev->size);
	return device_verify(dev);
}

int device_load(struct dax_device *dev, uint64_t offset, void *buf, size_t len)
{
	int ret = check_touch(dev, offset, len);

	if (ret || !len)
		return ret;
	return copy_mc(buf, dev->window + offset, len);
}

int device_store(struct dax_device *dev, uint64_t offset, const void *buf,
		 size_t len)
{
	int ret = check_touch(dev, offset, len);

	if (!ret)
		ret = device_prepare_store(dev, offset, len);
	if (ret || !len)
		return ret;
	return dev->persist->store(dev, dev->window + offset, buf, len);
}

int device_flush(struct dax_device *dev, uint64_t offset, uint64_t len)
{
	int ret = check_touch(dev, offset, len);

	if (ret || !len)
		return ret;
	return dev->persist->flush(dev, dev->window + offset, len);
}

int device_fence(struct dax_device *dev)
{
	int ret = check_touch(dev, 0, 0);

	if (!ret)
		dev->persist->fence(dev);
	return ret;
}

int device_sync(struct dax_device *dev)
{
	int ret = check_touch(dev, 0, 0);

	return ret ? ret : dev->persist->sync(dev);
}
