/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sparse_open.c -- open a sparse file: one mapping for each file of the process
 *
 * Owns: the list of open sparse files, and their locks against other processes.
 * Locks: open_lock guards both, taken with none of a file's locks held; the
 *        locks of a file are taken inside it.
 * Kernel: iget_locked() and the inode cache; flock(2).
 *
 * A file that is going away is on the list, without references, until its lock
 * is gone: who opens it then waits for that.
 */
#include "sparse_file.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "copy_mc.h"
#include "errormsg.h"
#include "invalidate.h"

static struct mutex open_lock;
static struct sparse_file *open_files;
static _Atomic uint32_t nr_closed;	/* who waits for a close looks at it */

/* Address space of all windows, guarded by open_lock. */
static uint64_t window_bytes;

#define TIB	(UINT64_C(1) << 40)
#define GIB	(UINT64_C(1) << 30)

/* The parent's files are not the child's. */
static void fork_child(void)
{
	mutex_reset(&open_lock);
	open_files = NULL;
	window_bytes = 0;
}

__attribute__((constructor)) static void sparse_open_init(void)
{
	sys_at_fork(NULL, NULL, fork_child);
}

/* What one call is about. */
struct opening {
	const char *path;
	unsigned int flags;
	uint64_t size;		/* at least, 0: what it has */
	const struct dax_policy *policy;
	int fd;			/* -1 once somebody else has it */
	bool made;		/* the file was made by this call */
	struct sys_file_info info;
};

static bool for_writing(const struct opening *op)
{
	return op->flags & (DAX_OPEN_WRITE | DAX_OPEN_TRUNCATE);
}

/* ---- the descriptor ------------------------------------------------------------ */

static int open_fd(struct opening *op)
{
	int fd = sys_open(op->path, for_writing(op));

	if (fd == -ENOENT && op->flags & DAX_OPEN_TRUNCATE) {
		fd = sys_create_new(op->path);
		op->made = fd >= 0;
		if (fd == -EEXIST)	/* somebody was faster */
			fd = sys_open(op->path, true);
	}
	if (fd < 0)
		return dax_error(fd, "%s: %s", op->path, strerror(-fd));
	op->fd = fd;
	return 0;
}

static int check_kind(struct opening *op)
{
	int ret = sys_file_info(op->fd, &op->info);

	if (ret)
		return dax_error(ret, "%s: %s", op->path, strerror(-ret));
	if (op->info.kind == SYS_FILE_DIR)
		return dax_error(-EISDIR, "%s: a directory; a regular file is needed",
				 op->path);
	if (op->info.kind != SYS_FILE_REGULAR)
		return dax_error(-ENODEV, "%s: not a regular file (a /dev/dax node is "
				 "opened as a device)", op->path);
	return 0;
}

/* ---- the lock ---------------------------------------------------------------------- */

static int lock_failed(const struct opening *op, int err)
{
	if (err == -EBUSY)
		return dax_error(err, "%s: locked %s (by process %d)", op->path,
				 for_writing(op) ? "by another that has it open" :
						   "for writing",
				 sys_lock_holder(op->fd));
	return dax_error(err, "%s: cannot lock: %s", op->path, strerror(-err));
}

static int lock_fd(const struct opening *op)
{
	int ret = for_writing(op) ? sys_lock_file(op->fd)
				  : sys_lock_file_shared(op->fd);

	return ret ? lock_failed(op, ret) : 0;
}

static int holder_fd(const struct sparse_file *sf)
{
	return sf->lock_fd >= 0 ? sf->lock_fd : sf->dev->fd;
}

/* ---- a file that nobody has ------------------------------------------------------------ */

/*
 * Length of the window: room to grow, up to the next TiB, while there is
 * address space to spare; less as more files are open and at each attempt.
 */
static uint64_t window_size(uint64_t size, int attempt)
{
	const uint64_t unit = DAX_PMD_SIZE;

	if (attempt == 0 && window_bytes < 32 * TIB)
		return (size + 16 * GIB + TIB - 1) & ~(TIB - 1);
	if (attempt <= 1)
		size += 16 * GIB;
	return size ? (size + unit - 1) & ~(unit - 1) : unit;
}

/* On success the descriptor is the device's. */
static int make_window(struct opening *op, struct dax_device **ret_dev)
{
	uint64_t size = op->size > op->info.size ? op->size : op->info.size;
	int ret = -EFBIG;

	if (size > UINT64_C(1) << 46)
		return dax_error(ret, "%s: %" PRIu64 " bytes are more than the address "
				 "space can show (64 TiB)", op->path, size);
	for (int attempt = 0; ret && attempt < 3; attempt++)
		ret = device_window(ret_dev, op->path, op->fd, window_size(size, attempt),
				    !for_writing(op));
	if (!ret)
		op->fd = -1;
	return ret;
}

static struct sparse_file *alloc_file(const struct opening *op)
{
	struct sparse_file *sf = dax_zalloc(sizeof(*sf));
	uint64_t block = sys_fs_block_size(op->fd);

	if (!sf)
		return NULL;
	sf->lock_fd = -1;
	sf->small_blocks = block && block < DAX_PAGE_SIZE;
	sf->st_dev = op->info.dev;
	sf->st_ino = op->info.ino;
	return sf;
}

static int make_mapping(const struct opening *op, struct sparse_file *sf)
{
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr), .size = (dax_loff_t)op->info.size,
		.ops = &sparse_file_ops, .private_data = sf,
	};
	int ret = sparse_file_scan(sf, op->info.size);

	if (!ret)
		ret = mapping_new(&sf->mapping, sf->dev, &attr, op->policy);
	if (!ret)
		sf->mapping->hooks = &sparse_file_hooks;
	return ret;
}

/* The device holds the descriptor, and the mapping the device. */
static int make_file(struct opening *op, struct sparse_file *sf)
{
	int ret = make_window(op, &sf->dev);

	if (ret)
		return ret;
	ret = page_set_init(&sf->data, sf->dev->size >> DAX_PAGE_SHIFT);
	if (ret)
		goto put_device;
	ret = make_mapping(op, sf);
	if (ret)
		page_set_fini(&sf->data);
put_device:
	if (ret)
		sys_unlock_file(sf->dev->fd);
	device_put(sf->dev);
	return ret;
}

static int open_new(struct opening *op, struct dax_mapping **ret_mapping)
{
	struct sparse_file *sf;
	int ret = lock_fd(op);

	if (!ret)
		ret = check_kind(op);	/* the size, now that it is ours */
	if (ret)
		return ret;
	sf = alloc_file(op);
	if (!sf)
		return dax_error(-ENOMEM, "no memory for a file");
	ret = make_file(op, sf);
	if (ret) {
		dax_free(sf);
		return ret;
	}
	sf->next = open_files;
	open_files = sf;
	window_bytes += sf->dev->size;
	*ret_mapping = sf->mapping;
	return 0;
}

/* ---- a file that is open ------------------------------------------------------------------ */

static struct sparse_file *find_file(const struct sys_file_info *info)
{
	struct sparse_file *sf = open_files;

	while (sf && (sf->st_dev != info->dev || sf->st_ino != info->ino))
		sf = sf->next;
	return sf;
}

static int remap_writable(struct dax_mapping *mapping, void *arg)
{
	return device_make_writable(mapping->dax_dev, *(int *)arg);
}

/*
 * The shared lock becomes exclusive; flock() gives up the one before it asks
 * for the other.  If somebody got in between and keeps us out, the file goes
 * on unlocked, as read-only as it was.
 */
static int upgrade(struct sparse_file *sf, struct opening *op)
{
	int ret;

	if (sf->lock_fd < 0)
		sf->lock_fd = sys_dup(sf->dev->fd);
	if (sf->lock_fd < 0) {
		ret = sf->lock_fd;
		return dax_error(ret, "%s: %s", op->path, strerror(-ret));
	}
	ret = sys_lock_file(sf->lock_fd);
	if (ret)
		ret = lock_failed(op, ret);
	else
		ret = mapping_run_alone(sf->mapping, remap_writable, &op->fd);
	if (ret)
		sys_lock_file_shared(sf->lock_fd);
	return ret;
}

/* -EAGAIN: it is going away. */
static int open_again(struct sparse_file *sf, struct opening *op,
		      struct dax_mapping **ret_mapping)
{
	if (!mapping_get_unless_zero(sf->mapping))
		return -EAGAIN;
	*ret_mapping = sf->mapping;
	if (for_writing(op) && sf->dev->readonly)
		return upgrade(sf, op);
	return 0;
}

/* A reference in *ret_mapping, also with an error of open_again(). */
static int open_once(struct opening *op, struct dax_mapping **ret_mapping)
{
	struct sparse_file *sf = find_file(&op->info);

	return sf ? open_again(sf, op, ret_mapping) : open_new(op, ret_mapping);
}

static int open_locked(struct opening *op, struct dax_mapping **ret_mapping)
{
	uint32_t seen;
	int ret;

	for (;;) {
		mutex_lock(&open_lock);
		seen = READ_ONCE(nr_closed);
		ret = open_once(op, ret_mapping);
		mutex_unlock(&open_lock);
		if (ret != -EAGAIN)
			return ret;
		futex_wait(&nr_closed, seen);
	}
}

/* ---- sizes, and all of it -------------------------------------------------------------------- */

static int grow(const struct opening *op, struct dax_mapping *mapping)
{
	if ((dax_loff_t)op->size <= i_size_read(mapping))
		return 0;
	return mapping_truncate(mapping, (dax_loff_t)op->size);
}

/* A size that the file cannot have does not cost what it holds: it grows first. */
static int set_size(const struct opening *op, struct dax_mapping *mapping)
{
	int ret = grow(op, mapping);

	if (ret || !(op->flags & DAX_OPEN_TRUNCATE) || op->made)
		return ret;
	ret = mapping_truncate(mapping, 0);
	return ret ? ret : grow(op, mapping);
}

static int check_args(const char *path, dax_loff_t size, unsigned int flags)
{
	if (flags & ~(unsigned int)(DAX_OPEN_WRITE | DAX_OPEN_TRUNCATE))
		return dax_error(-EINVAL, "flags %#x: unknown bits", flags);
	if (size < 0 || size > DAX_MAX_SIZE)
		return dax_error(-EINVAL, "size %" PRId64 " is not in 0 to %" PRId64,
				 size, (int64_t)DAX_MAX_SIZE);
	if (size && !flags)
		return dax_error(-EINVAL, "%s: a file opened for reading has its own size, "
				 "not %" PRId64, path, size);
	return 0;
}

static int open_file(struct opening *op, struct dax_mapping **ret_mapping)
{
	struct dax_mapping *mapping = NULL;
	int ret = copy_mc_arm();

	if (!ret)
		ret = check_kind(op);
	if (!ret)
		ret = open_locked(op, &mapping);
	if (!ret)
		ret = set_size(op, mapping);
	if (!ret)
		*ret_mapping = mapping;
	else if (mapping)
		mapping_put(mapping);
	return ret;
}

int sparse_file_open(struct dax_mapping **ret_mapping, const char *path,
		     dax_loff_t size, unsigned int flags,
		     const struct dax_policy *policy)
{
	struct opening op = {
		.path = path, .flags = flags, .size = (uint64_t)size,
		.policy = policy, .fd = -1,
	};
	int ret = check_args(path, size, flags);

	if (!ret)
		ret = open_fd(&op);
	if (ret)
		return ret;
	ret = open_file(&op, ret_mapping);
	if (ret && op.made)
		sys_unlink(path);
	if (op.fd >= 0)
		sys_close(op.fd);
	return ret;
}

/* The lock goes before the file leaves the list. */
void sparse_file_free(struct dax_mapping *mapping, void *private_data)
{
	struct sparse_file *sf = private_data;
	struct sparse_file **link = &open_files;

	(void)mapping;
	mutex_lock(&open_lock);
	sys_unlock_file(holder_fd(sf));
	if (sf->lock_fd >= 0)
		sys_close(sf->lock_fd);
	while (*link != sf)
		link = &(*link)->next;
	*link = sf->next;
	window_bytes -= sf->dev->size;
	atomic_fetch_add(&nr_closed, 1);
	mutex_unlock(&open_lock);
	futex_wake(&nr_closed, INT32_MAX);
	page_set_fini(&sf->data);
	dax_free(sf);
}
