/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rw.c -- read and write through the block map, without faults
 *
 * Owns: nothing.
 * Locks: i_rwsem, shared to read and exclusive to write; invalidate_lock
 *        shared while holes that got blocks are invalidated.
 * Kernel: dax_iomap_rw() and dax_iomap_actor() (v4.14).
 * Differs: what is past the end in the last page is zeroed when a write
 *          makes the file longer.
 */
#include "rw.h"

#include <errno.h>
#include <limits.h>
#include <inttypes.h>

#include "ahead.h"
#include "blocks.h"
#include "copy_mc.h"
#include "errormsg.h"
#include "freeze.h"
#include "invalidate.h"
#include "iomap.h"
#include "move.h"

/* Address of @pos and how many bytes of @len lie together there. */
static ssize_t iomap_access(const struct dax_iomap *iomap, dax_loff_t pos,
			    size_t len, char **ret_kaddr)
{
	uint64_t addr = iomap_addr(iomap, pos);
	size_t within = addr % DAX_PAGE_SIZE;
	void *kaddr;
	int64_t nr;

	nr = direct_access(iomap->dax_dev, addr >> DAX_PAGE_SHIFT,
			   (within + len + DAX_PAGE_SIZE - 1) >> DAX_PAGE_SHIFT,
			   &kaddr, NULL);
	if (nr < 0)
		return (ssize_t)nr;
	*ret_kaddr = (char *)kaddr + within;
	nr = (nr << DAX_PAGE_SHIFT) - (int64_t)within;
	return nr < (int64_t)len ? (ssize_t)nr : (ssize_t)len;
}

/* ---- the run of a thread ----------------------------------------------------------- */

enum {
	RUN_PIECE = 1 << 16,		/* longer ones are asked for each time */
	RUN_FIRST = 8,			/* pages behind a piece; doubled ... */
	RUN_MOST = DAX_PMD_NR_PAGES	/* ... to this while they follow each other */
};

/* Can a fault give the file other blocks?  A block map that shares has an end()
 * for that in files that took part, see extent_map.c. */
static bool has_shared(const struct dax_mapping *mapping)
{
	const struct dax_iomap_ops *ops = READ_ONCE(mapping->ops);

	return ops->remap && ops->iomap_end;
}

/* Does the built-in map leave a MAPPED block where it is as long as layout_seq is
 * what it is?  Not while somebody is about to change it. */
static bool keeps_blocks(const struct dax_mapping *mapping)
{
	return mapping->tells_new && !has_shared(mapping) && !(mapping->layout_seq & 1);
}

/*
 * Pieces that follow each other are mostly of one extent: what the block map said
 * of the last one, and what follows it, is kept.  The built-in map takes a block
 * from a file that shares none with both locks exclusive only, and then
 * layout_seq is another: no other map is known to do that, and nothing is kept of
 * its answers but the address, to guess by.  Kernel: the validity cookie of an
 * iomap (v6.2), which is asked for instead of the block map, too.
 *
 * Context: i_rwsem held.
 */
static __always_inline_fn bool run_covers(const struct dax_mapping *mapping,
					  const struct rw_run *run,
					  dax_loff_t pos, size_t len)
{
	uint64_t at = (uint64_t)pos - (uint64_t)run->start;

	return at < run->length && len <= run->length - at &&
	       likely(run->layout_seq == mapping->layout_seq) &&
	       likely(smp_load_acquire(&mapping->dax_dev->alive));
}

static char *run_kaddr(const struct rw_run *run, dax_loff_t pos)
{
	return (char *)(run->kaddr + (uintptr_t)pos);
}

/* Pages behind the run that lie behind it on the device, too. */
static void look_further(struct dax_mapping *mapping, struct rw_run *run)
{
	dax_loff_t end = run->start + (dax_loff_t)run->length;
	uint64_t nr = run->further << DAX_PAGE_SHIFT;
	struct dax_iomap iomap;

	if (end >= i_size_read(mapping) ||
	    iomap_begin(mapping, end, nr, 0, &iomap))
		return;
	if (iomap.type == DAX_IOMAP_MAPPED &&
	    mapping->dax_dev->window + iomap_addr(&iomap, end) == run_kaddr(run, end))
		run->length += iomap_left(&iomap, end, nr);
	iomap_end(mapping, end, nr, 0, 0, &iomap);
}

static uint64_t how_much_further(const struct rw_run *run, bool follows)
{
	if (!follows)
		return 0;
	if (!run->further)
		return RUN_FIRST;
	return run->further < RUN_MOST ? 2 * run->further : RUN_MOST;
}

/* [pos, pos + n) has been found at @kaddr. */
static void remember_run(struct dax_mapping *mapping, const char *kaddr,
			 dax_loff_t pos, size_t n)
{
	struct rw_run *run = &this_percpu(&mapping->percpu)->run;
	uintptr_t zero = (uintptr_t)kaddr - (uintptr_t)pos;
	bool follows = run->start + (dax_loff_t)run->length == pos && run->kaddr == zero;

	run->kaddr = zero;
	run->start = pos;
	run->length = 0;
	if (n > RUN_PIECE || !keeps_blocks(mapping))
		return;
	run->length = n;
	run->layout_seq = mapping->layout_seq;
	run->further = how_much_further(run, follows);
	if (follows)
		look_further(mapping, run);
}

/* After a hole. */
static void forget_run(struct dax_mapping *mapping)
{
	struct rw_run *run = &this_percpu(&mapping->percpu)->run;

	run->kaddr = 0;
	run->length = 0;
}

/* As many lines of a piece as the first cache has places for under way. */
enum { EARLY_LINES = 16, EARLY_BYTES = EARLY_LINES * CACHELINE };

/*
 * The first lines of a piece are asked for before the locks and the block map
 * are: the memory has something to do meanwhile.  Where the file's bytes are is
 * guessed by the thread's run; a wrong guess costs a prefetch, and
 * one of no memory at all is no fault.  After a hole there is no guess: zeroes wait
 * for nothing that is read.  (Not inlined, gcc takes it for a function
 * without effects and drops the call.)
 */
static __always_inline_fn void prefetch_piece(struct dax_mapping *mapping,
					      const char *buf, size_t len,
					      dax_loff_t pos, bool write)
{
	const struct percpu_area *area = percpu_peek(&mapping->percpu);

	if (len < EARLY_BYTES || !area || !area->run.kaddr)
		return;
	for (size_t i = 0; i < EARLY_BYTES; i += CACHELINE) {
		const char *kaddr = run_kaddr(&area->run, pos) + i;

		__builtin_prefetch(write ? buf + i : kaddr, 0, 3);
		__builtin_prefetch(write ? kaddr : buf + i, 1, 3);
	}
}

/* ---- reading ---------------------------------------------------------------------- */

/* One extent; > 0 bytes done, or -errno. */
static ssize_t read_extent(struct dax_mapping *mapping,
			   const struct dax_iomap *iomap, char *buf, size_t len,
			   dax_loff_t pos)
{
	size_t n = iomap_left(iomap, pos, len);
	ssize_t ret;
	char *kaddr;

	if (!iomap_type_known(iomap))
		return iomap_bad_answer(iomap, pos);
	if (iomap->type != DAX_IOMAP_MAPPED) {
		forget_run(mapping);
		zero_bytes(buf, NULL, n);
		return (ssize_t)n;
	}
	if (mapping->hooks)
		return mapping->hooks->read(mapping, buf, n, pos);
	ret = iomap_access(iomap, pos, n, &kaddr);
	if (ret > 0) {
		int err;

		remember_run(mapping, kaddr, pos, (size_t)ret);
		err = copy_mc(buf, kaddr, (size_t)ret);
		if (err)
			return err;
	}
	return ret;
}

/* ---- reading what may move ------------------------------------------------------- */

/* Bytes of one step of a read that may have to pin. */
enum { READ_PIN_BYTES = 1 << 18 };

/* Blocks that a read is inside of. */
struct read_pin {
	struct block_allocator *blocks;	/* NULL: none */
	uint64_t block, nr;
};

/* The blocks behind [pos, pos + n). */
static void set_read_pin(struct read_pin *pin, const struct dax_iomap *iomap,
			 dax_loff_t pos, size_t n)
{
	uint64_t addr = iomap_addr(iomap, pos);

	pin->blocks = &iomap->dax_dev->blocks;
	pin->block = addr >> DAX_PAGE_SHIFT;
	pin->nr = ((addr + n - 1) >> DAX_PAGE_SHIFT) - pin->block + 1;
}

/* Are they of the device, and some of them shared or about to be left?  What is
 * neither, and the file's still, stays so: that changes under i_rwsem exclusive
 * only. */
static bool may_move(const struct read_pin *pin)
{
	bool found = false;

	if (pin->block >= pin->blocks->nr || pin->nr > pin->blocks->nr - pin->block)
		return false;
	for (uint64_t i = 0; !found && i < pin->nr; i++)
		found = frame_word(&pin->blocks->frames, pin->block + i);
	return found;
}

/*
 * Until unpin_read() the blocks behind [pos, pos + n) are not used again, even
 * if a fault gives the file others: it holds invalidate_lock, which a read
 * does not.  0; IOMAP_MOVED; or what the block map returned.
 */
static int pin_read(struct dax_mapping *mapping, const struct dax_iomap *iomap,
		    dax_loff_t pos, size_t n, struct read_pin *pin)
{
	pin->blocks = NULL;
	if (iomap->type != DAX_IOMAP_MAPPED || !iomap_type_known(iomap))
		return 0;
	set_read_pin(pin, iomap, pos, n);
	dax_test_yield(DAX_TEST_BLOCK_FOUND);
	if (may_move(pin)) {
		dax_test_yield(DAX_TEST_FRAME_SEEN);
		blocks_pin(pin->blocks, pin->block, pin->nr);
		dax_test_yield(DAX_TEST_FRAME_PINNED);
	} else {
		pin->blocks = NULL;
		if (!has_shared(mapping))
			return 0;
	}
	/* A block that the file has left since the first answer may have one
	 * owner, who is another file: asked again in either case. */
	return iomap_ask_again(mapping, iomap, pos, n);
}

static void unpin_read(const struct read_pin *pin)
{
	if (pin->blocks)
		blocks_unpin(pin->blocks, pin->block, pin->nr);
}

/* As read_extent(), in a process that has shared blocks. */
static __cold ssize_t read_shared(struct dax_mapping *mapping,
				  const struct dax_iomap *iomap, char *buf,
				  size_t len, dax_loff_t pos)
{
	size_t n = iomap_left(iomap, pos, len);
	struct read_pin pin = { NULL, 0, 0 };
	ssize_t done = 0;
	int ret = pin_read(mapping, iomap, pos, n, &pin);

	if (!ret)
		done = read_extent(mapping, iomap, buf, n, pos);
	unpin_read(&pin);
	return ret < 0 ? ret : done;
}

/* > 0 bytes done; 0: to be repeated; or -errno. */
static ssize_t read_once(struct dax_mapping *mapping, char *buf, size_t len,
			 dax_loff_t pos)
{
	bool pins = unlikely(READ_ONCE(frames_ever_shared));
	struct dax_iomap iomap;
	ssize_t done;
	int ret;

	if (pins && len > READ_PIN_BYTES)	/* nor is more looked up */
		len = READ_PIN_BYTES;
	ret = iomap_begin(mapping, pos, len, 0, &iomap);
	if (ret)
		return ret;
	done = pins ? read_shared(mapping, &iomap, buf, len, pos)
		    : read_extent(mapping, &iomap, buf, len, pos);
	ret = iomap_end(mapping, pos, len, done < 0 ? 0 : done, 0, &iomap);
	return done < 0 || !ret ? done : ret;
}

static ssize_t read_run(const struct rw_run *run, char *buf, size_t len,
			dax_loff_t pos)
{
	int ret = copy_mc(buf, run_kaddr(run, pos), len);

	return ret ? ret : (ssize_t)len;
}

ssize_t mapping_read_locked(struct dax_mapping *mapping, char *buf, size_t len,
			    dax_loff_t pos)
{
	dax_loff_t size = i_size_read(mapping);
	const struct rw_run *run;
	ssize_t ret = 0;
	size_t done = 0;

	if (pos >= size)
		return 0;
	if (len > (uint64_t)(size - pos))
		len = (size_t)(size - pos);
	run = &this_percpu(&mapping->percpu)->run;
	if (run_covers(mapping, run, pos, len))
		return read_run(run, buf, len, pos);
	while (done < len) {
		ret = read_once(mapping, buf + done, len - done,
				pos + (dax_loff_t)done);
		if (ret < 0)
			break;
		done += (size_t)ret;
	}
	return done ? (ssize_t)done : ret;
}

ssize_t mapping_pread(struct dax_mapping *mapping, void *buf, size_t len,
		      dax_loff_t pos)
{
	ssize_t ret;

	if (pos < 0)
		return dax_error(-EINVAL, "offset %" PRId64 " is negative", pos);
	if (len > SSIZE_MAX)
		len = SSIZE_MAX;
	prefetch_piece(mapping, buf, len, pos, false);
	ret = mapping_verify(mapping, pos, len);
	if (!ret)
		ret = i_rwsem_lock_shared(mapping);
	if (ret)
		return ret;
	ret = mapping_read_locked(mapping, buf, len, pos);
	i_rwsem_unlock(mapping);
	return ret;
}

/* ---- writing ----------------------------------------------------------------------- */

/*
 * What mappings show of bytes that are about to be written: take away what is
 * not the block, so that nobody sees old after new.  The tree decides, not the
 * NEW flag: the block may be new to somebody else, who has not come to the
 * tree yet (we wait for its entry) or never will (its fault failed).  Stores to
 * what was a hole are older than what is about to be written.
 */
static int invalidate_stale(struct dax_mapping *mapping, bool fresh, dax_pfn_t pfn,
			    dax_loff_t pos, size_t n)
{
	dax_pgoff_t first = (dax_pgoff_t)pos >> DAX_PAGE_SHIFT;
	dax_pgoff_t last = ((dax_pgoff_t)pos + n - 1) >> DAX_PAGE_SHIFT;
	struct percpu_area *area;
	int ret;

	/* The block map was changed before the tree is read; a fault locks its
	 * entry before it reads the block map: one of us sees the other.  If
	 * another thread changed it we have seen that, which is order enough
	 * between two loads. */
	if (fresh || !mapping->tells_new)
		smp_mb();
	if (radix_tree_is_bare(&mapping->i_pages) && !READ_ONCE(mapping->nr_real))
		return 0;
	ret = mapping_lock_shared_nested(mapping, &area);
	if (ret)
		return ret;
	/* A data entry that shows the block may stay, DIRTY or not. */
	invalidate_pages_range(mapping, area, first, last, !fresh, pfn);
	if (pfn)
		ret = merge_stores(mapping, first, last, pfn);
	mapping_unlock_shared(mapping, area);
	return ret;
}

/* Past the cache; on persistent memory durable on return.  No @buf: zeroes. */
static ssize_t store(struct dax_device *dev, char *kaddr, const char *buf, size_t n)
{
	int ret = device_prepare_store(dev, (uint64_t)(kaddr - dev->window), n);

	if (ret)
		return ret;
	ret = buf ? dev->persist->store_nt(dev, kaddr, buf, n)
		  : dev->persist->zero_nt(dev, kaddr, n);
	dev->persist->fence(dev);
	return ret ? ret : (ssize_t)n;
}

static ssize_t write_extent(struct dax_mapping *mapping,
			    const struct dax_iomap *iomap, const char *buf,
			    size_t len, dax_loff_t pos)
{
	size_t n = iomap_left(iomap, pos, len);
	ssize_t ret;
	char *kaddr = NULL;

	if (!iomap_type_known(iomap))
		return iomap_bad_answer(iomap, pos);
	if (iomap->type != DAX_IOMAP_MAPPED)
		return dax_error(-EIO, "the block map left byte %" PRId64 " a hole when "
				 "it was written to", pos);
	/* First, and all of it: what else fails, a block that the file has left
	 * is not shown after iomap_end(). */
	ret = invalidate_stale(mapping, iomap->flags & DAX_IOMAP_F_NEW,
			       iomap_pfn(iomap, pos), pos, n);
	if (!ret)
		ret = iomap_access(iomap, pos, n, &kaddr);
	if (ret < 0)
		return ret;
	ret = store(iomap->dax_dev, kaddr, buf, (size_t)ret);
	if (ret > 0)
		remember_run(mapping, kaddr, pos, (size_t)ret);
	return ret;
}

/* As write_extent(), of blocks known to be the file's. */
static ssize_t write_run(struct dax_mapping *mapping, const struct rw_run *run,
			 const char *buf, size_t len, dax_loff_t pos)
{
	struct dax_device *dev = mapping->dax_dev;
	char *kaddr = run_kaddr(run, pos);
	uint64_t pgoff = (uint64_t)(kaddr - dev->window) >> DAX_PAGE_SHIFT;
	ssize_t ret = invalidate_stale(mapping, false, dev->pfn_base + pgoff, pos, len);

	return ret ? ret : store(dev, kaddr, buf, len);
}

static ssize_t write_once(struct dax_mapping *mapping, const char *buf,
			  size_t len, dax_loff_t pos)
{
	struct dax_iomap iomap;
	ssize_t done;
	int ret = iomap_begin(mapping, pos, len, DAX_IOMAP_WRITE, &iomap);

	if (ret)
		return ret;
	done = write_extent(mapping, &iomap, buf, len, pos);
	ret = iomap_end(mapping, pos, len, done < 0 ? 0 : done, DAX_IOMAP_WRITE,
			&iomap);
	return done < 0 || !ret ? done : ret;
}

/* Before a write that ends past the end of the file. */
static int prepare_growth(struct dax_mapping *mapping, dax_loff_t end)
{
	struct percpu_area *area;
	int ret;

	if (end <= i_size_read(mapping))
		return 0;
	ret = mapping_reserve_size(mapping, end);
	if (!ret)
		ret = mapping_lock_shared_nested(mapping, &area);
	if (ret)
		return ret;
	ret = zero_tail(mapping);
	mapping_unlock_shared(mapping, area);
	return ret;
}

static ssize_t write_extents(struct dax_mapping *mapping, const char *buf,
			     size_t len, dax_loff_t pos)
{
	const struct rw_run *run = &this_percpu(&mapping->percpu)->run;
	size_t done = 0;
	ssize_t n = 0;

	if (run_covers(mapping, run, pos, len))
		return write_run(mapping, run, buf, len, pos);
	while (n >= 0 && done < len) {
		n = write_once(mapping, buf + done, len - done,
			       pos + (dax_loff_t)done);
		done += n < 0 ? 0 : (size_t)n;
	}
	return done ? (ssize_t)done : n;
}

/*
 * A write that came to less than it was asked to may have got blocks behind the
 * end of the file, and stored to them: the file would show that when it grows.
 * Kernel: ext4_truncate_failed_write().
 */
static __cold void free_behind_end(struct dax_mapping *mapping, dax_loff_t end)
{
	dax_loff_t size = i_size_read(mapping);

	if (end <= size || mapping->hooks || !mapping->ops->truncate ||
	    mapping_lock_exclusive_nested(mapping))
		return;
	mapping->layout_seq += 2;
	mapping->ops->truncate(mapping, mapping->private_data, size);
	mapping_unlock_exclusive(mapping);
}

static ssize_t write_locked(struct dax_mapping *mapping, const char *buf,
			    size_t len, dax_loff_t pos)
{
	ssize_t done = prepare_growth(mapping, pos + (dax_loff_t)len);

	if (done)
		return done;
	done = mapping->hooks ? mapping->hooks->write(mapping, buf, len, pos)
			      : write_extents(mapping, buf, len, pos);
	if (done > 0 && pos + done > i_size_read(mapping))
		smp_store_release(&mapping->i_size, pos + done);
	if (unlikely(done < (ssize_t)len))
		free_behind_end(mapping, pos + (dax_loff_t)len);
	return done;
}

static ssize_t lock_and_write(struct dax_mapping *mapping, const void *buf,
			      size_t len, dax_loff_t pos)
{
	ssize_t ret = i_rwsem_lock_write(mapping);

	if (ret)
		return ret;
	ret = write_locked(mapping, buf, len, pos);
	i_rwsem_unlock(mapping);
	return ret;
}

ssize_t mapping_pwrite(struct dax_mapping *mapping, const void *buf,
		       size_t len, dax_loff_t pos)
{
	ssize_t ret;

	if (pos < 0)
		return dax_error(-EINVAL, "offset %" PRId64 " is negative", pos);
	if (pos > DAX_MAX_SIZE || len > (uint64_t)(DAX_MAX_SIZE - pos))
		return dax_error(-EFBIG, "offset %" PRId64 " + %zu bytes is beyond "
				 "2^63-4096", pos, len);
	if (len == 0)
		return 0;
	prefetch_piece(mapping, buf, len, pos, true);
	ret = mapping_verify(mapping, 0, 0);
	if (ret)
		return ret;
	ret = lock_and_write(mapping, buf, len, pos);
	if (ret == -ENOSPC && mapping_has_ahead(mapping) &&
	    !mapping_give_back_ahead(mapping))
		ret = lock_and_write(mapping, buf, len, pos);
	return ret;
}

/* ---- zeroing --------------------------------------------------------------------------- */

/* Bytes of [pos, pos + len) that have no block, or with *ret_mapped those that
 * have one; > 0, or -errno. */
static ssize_t zero_extent_at(struct dax_mapping *mapping, dax_loff_t pos,
			      size_t len, bool *ret_mapped)
{
	struct dax_iomap iomap;
	ssize_t n;
	int ret = iomap_begin(mapping, pos, len, DAX_IOMAP_REPORT, &iomap);

	if (ret)
		return ret;
	n = (ssize_t)iomap_left(&iomap, pos, len);
	if (!iomap_type_known(&iomap))
		n = iomap_bad_answer(&iomap, pos);
	*ret_mapped = iomap.type == DAX_IOMAP_MAPPED;
	ret = iomap_end(mapping, pos, len, 0, DAX_IOMAP_REPORT, &iomap);
	return n < 0 || !ret ? n : ret;
}

/* It reads as zeroes already, and so will what mappings have stored to it. */
static int zero_hole(struct dax_mapping *mapping, dax_loff_t pos, uint64_t len)
{
	int ret;

	if (!READ_ONCE(mapping->nr_real))
		return 0;
	ret = mapping_lock_exclusive_nested(mapping);
	if (ret)
		return ret;
	forget_stores(mapping, (uint64_t)pos, (uint64_t)pos + len);
	mapping_unlock_exclusive(mapping);
	return 0;
}

/* Bytes done of one extent; > 0, or -errno. */
static ssize_t zero_once(struct dax_mapping *mapping, dax_loff_t pos, size_t len)
{
	bool mapped = false;
	ssize_t n = zero_extent_at(mapping, pos, len, &mapped);
	int ret;

	if (n < 0)
		return n;
	if (mapped)
		return write_once(mapping, NULL, (size_t)n, pos);
	ret = zero_hole(mapping, pos, (uint64_t)n);
	return ret ? ret : n;
}

static int zero_locked(struct dax_mapping *mapping, dax_loff_t pos, uint64_t len)
{
	dax_loff_t size = i_size_read(mapping);
	dax_loff_t end = pos + (dax_loff_t)len < size ? pos + (dax_loff_t)len : size;
	int ret = 0;

	while (!ret && pos < end) {
		ssize_t n = zero_once(mapping, pos, (size_t)(end - pos));

		if (n < 0)
			ret = (int)n;
		else
			pos += n;
	}
	return ret;
}

int mapping_zero_range(struct dax_mapping *mapping, dax_loff_t pos, uint64_t len)
{
	int ret = mapping_check_range(pos, len);

	if (!ret)
		ret = mapping_verify(mapping, 0, 0);
	if (!ret)
		ret = i_rwsem_lock_write(mapping);
	if (ret)
		return ret;
	ret = mapping_check_writable(mapping);
	if (!ret)
		ret = zero_locked(mapping, pos, len);
	i_rwsem_unlock(mapping);
	return ret;
}

/* ---- reporting ------------------------------------------------------------------------ */

static bool continues(const struct dax_extent *row, const struct dax_iomap *iomap,
		      dax_loff_t pos, uint64_t addr)
{
	return row->type == iomap->type && row->flags == iomap->flags &&
	       row->offset + (dax_loff_t)row->length == pos &&
	       (iomap->type == DAX_IOMAP_HOLE ||
		row->device_offset + row->length == addr);
}

/* Add an answer to the rows; false: there is no room for it. */
static bool add_extent(struct dax_extent *buf, size_t nr, size_t *filled,
		       const struct dax_iomap *iomap, dax_loff_t pos, size_t n)
{
	uint64_t addr = iomap_addr(iomap, pos);

	if (*filled && continues(&buf[*filled - 1], iomap, pos, addr)) {
		buf[*filled - 1].length += n;
		return true;
	}
	if (*filled == nr)
		return false;
	buf[(*filled)++] = (struct dax_extent){
		.offset = pos, .length = n, .type = iomap->type,
		.device_offset = iomap->type == DAX_IOMAP_HOLE ? 0 : addr,
		.flags = iomap->flags,
	};
	return true;
}

static int64_t extents_locked(struct dax_mapping *mapping, dax_loff_t *pos,
			      struct dax_extent *buf, size_t nr)
{
	dax_loff_t size = i_size_read(mapping);
	struct dax_iomap iomap;
	size_t filled = 0;
	bool room = true;

	while (room && *pos < size) {
		size_t asked = (size_t)(size - *pos), n;
		int ret = iomap_begin(mapping, *pos, asked, DAX_IOMAP_REPORT, &iomap);

		if (ret)
			return ret;
		n = iomap_left(&iomap, *pos, asked);
		if (iomap_type_known(&iomap))
			room = add_extent(buf, nr, &filled, &iomap, *pos, n);
		else
			ret = iomap_bad_answer(&iomap, *pos);
		iomap_end(mapping, *pos, asked, 0, DAX_IOMAP_REPORT, &iomap);
		if (ret)
			return ret;
		if (room)
			*pos += (dax_loff_t)n;
	}
	return (int64_t)filled;
}

int64_t mapping_extents(struct dax_mapping *mapping, dax_loff_t *pos,
			struct dax_extent *buf, size_t nr)
{
	int64_t ret;

	if (*pos < 0)
		return dax_error(-EINVAL, "offset %" PRId64 " is negative", *pos);
	ret = mapping_verify(mapping, 0, 0);
	if (!ret)
		ret = mapping_give_back_ahead(mapping);
	if (!ret)
		ret = i_rwsem_lock_shared(mapping);
	if (ret)
		return ret;
	ret = extents_locked(mapping, pos, buf, nr);
	i_rwsem_unlock(mapping);
	return ret;
}
