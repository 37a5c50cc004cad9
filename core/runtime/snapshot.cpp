#include "core/runtime/snapshot.hpp"

#include <algorithm>

#include "core/checkpoint/names.hpp"
#include "core/config/render.hpp"

namespace nemo::runtime {
namespace {

struct Group {
  Role role;
  const char* name;
};
constexpr Group kGroups[] = {{Role::kParameter, checkpoint::kParameters},
                             {Role::kMaster, checkpoint::kMaster},
                             {Role::kExpAvg, checkpoint::kExpAvg},
                             {Role::kExpAvgSq, checkpoint::kExpAvgSq}};

// Of the whole parameter.
std::vector<int64_t> shape_of(const graph::Parameter& p) {
  std::vector<int64_t> shape;
  for (const graph::Dim& d : p.global_dims) shape.push_back(d.size);
  return shape;
}

// Elements [first, first + count) of this rank's part of a parameter, as boxes of the whole one.
std::vector<checkpoint::Box> boxes_of(const State& state, size_t parameter, int64_t first, int64_t count) {
  std::vector<int64_t> mine;
  for (const graph::Dim& d : state.parameters()[parameter].dims) mine.push_back(d.size);
  std::vector<checkpoint::Box> boxes = checkpoint::boxes_of(mine, first, count);
  const std::vector<int64_t>& starts = state.starts(parameter);
  for (checkpoint::Box& box : boxes)
    for (size_t d = 0; d < starts.size(); ++d) box.start[d] += starts[d];
  return boxes;
}

bool has_state(const graph::Parameter& p, Role role) { return role == Role::kParameter || p.trainable; }

// Calls body(group, parameter index) for every tensor that the state keeps.
template <class Body>
void for_each_tensor(const State& state, Body&& body) {
  for (const Group& group : kGroups)
    for (size_t p = 0; p < state.parameters().size() && state.keeps(group.role); ++p)
      if (has_state(state.parameters()[p], group.role)) body(group, p);
}

constexpr const char* kKept = "kept";

// Calls body(name, entry) for the kept state that checkpoints have.
template <class Body>
void for_each_kept(const KeptState& kept, Body&& body) {
  if (kept.layout == nullptr) return;
  for (const auto& [name, entry] : kept.layout->entries)
    if (!name.starts_with("cache.")) body(name, entry);
}

int64_t elements_of(const passes::StateLayout::Entry& entry) { return entry.bytes / size_of(entry.dtype); }

// "@pp1,tp1": the coordinates that are not 0, without those of `but`. Nothing for the first rank, and where there is one.
std::string place_of(const KeptState& kept, const std::string& but) {
  std::string place;
  if (kept.ranks == nullptr) return place;
  for (const auto& [axis, at] : kept.ranks->coordinates())
    if (at != 0 && !passes::Plan::in_group(but, axis)) place += (place.empty() ? "@" : ",") + axis + std::to_string(at);
  return place;
}

// Each rank has seen other values, so kept state is its own: under its place in the mesh. A run with another number of data ranks takes
// that of the first one with the same part of the model; with another layout of the model there may be none, or one of another size.
std::vector<std::string> kept_names(const std::string& name, const KeptState& kept) {
  if (kept.ranks == nullptr) return {name};
  return {name + place_of(kept, ""), name + place_of(kept, data_axes(kept.ranks->plan()))};
}

void read_kept(const checkpoint::Reader& reader, const KeptState& kept, Device& device) {
  const std::vector<std::string> names = reader.names(kKept);
  std::vector<std::byte> host;
  for_each_kept(kept, [&](const std::string& base, const passes::StateLayout::Entry& entry) {
    const std::vector<std::string> wanted = kept_names(base, kept);
    const auto found = std::find_if(wanted.begin(), wanted.end(), [&](const std::string& name) {
      return std::binary_search(names.begin(), names.end(), name) &&
             static_cast<int64_t>(checkpoint::element_count(reader.info(kKept, name).shape)) == elements_of(entry);
    });
    if (found == wanted.end()) return;
    const std::string& name = *found;
    host.resize(static_cast<size_t>(entry.bytes));
    reader.read(kKept, {name, static_cast<nemo_dtype>(entry.dtype), {elements_of(entry)}, host.data()});
    device.copy_in(kept.data + entry.offset, host.data(), entry.bytes);
  });
}

void write_loss_scale(checkpoint::Writer& writer, const LossScaler::State& s) {
  writer.attribute("loss_scale", s.scale);
  writer.attribute("loss_scale_finite_steps", s.finite_steps);
  writer.attribute("loss_scale_overflows_left", s.overflows_left);
  writer.attribute("skipped_steps", s.skipped_steps);
}

std::optional<LossScaler::State> read_loss_scale(const checkpoint::Reader& reader) {
  if (!reader.has_attribute("loss_scale")) return std::nullopt;
  return LossScaler::State{reader.attribute_double("loss_scale"), reader.attribute_int("loss_scale_finite_steps"),
                           reader.attribute_int("loss_scale_overflows_left"), reader.attribute_int("skipped_steps")};
}

// `given` itself; where it is damaged, the error offers the newest good checkpoint beside it.
std::filesystem::path undamaged(const std::filesystem::path& given) {
  try {
    checkpoint::verify(given, checkpoint::Verify::kChecksums);
    return given;
  } catch (const Error& e) {
    if (e.code() != Code::kDataLoss) throw;
    const auto good = checkpoint::Store(std::filesystem::canonical(given).parent_path()).survey().good;
    if (!good) throw;
    throw Error(Code::kDataLoss, std::string(e.what()) + "\nthe last good checkpoint beside it is " + good->path.string());
  }
}

}  // namespace

namespace {

constexpr int64_t kWorthSplitting = 1 << 16;  // elements; smaller tensors are written by one of the ranks that have them

// What this rank writes of the elements that it keeps of a parameter: ranks that keep the same ones share the work.
State::Part written_part(const State& state, const Ranks& ranks, Role role, size_t p) {
  State::Part part = state.part(role, p);
  if (state.parameters()[p].counted_elsewhere) return {part.first, 0, part.address};  // a tied table's copy on another stage
  const dist::Group same = ranks.holders(state.parameters()[p].dims, state.is_sharded(role));
  const int64_t each = part.count < kWorthSplitting ? part.count : (part.count + same.size - 1) / same.size;
  const int64_t turn =
      part.count < kWorthSplitting ? (same.index + same.size - static_cast<int64_t>(p) % same.size) % same.size : same.index;
  const int64_t from = std::min(turn * each, part.count), to = std::min(from + each, part.count);
  return {part.first + from, to - from, part.address + from * size_of(state.dtype(role))};
}

checkpoint::Team team_of(const Ranks& ranks, dist::StoreClient& store, int64_t step) {
  dist::World* world = ranks.world();
  if (world == nullptr) return {};
  const std::string name = "checkpoint " + std::to_string(step);
  return {ranks.rank(), ranks.size(), [world, &store, name] { world->meet(store, name); },
          [world, &store, name](const std::string& mine) {
            if (world->rank() == 0) store.set(name, mine);
            return store.get(name, std::chrono::minutes(10));
          }};
}

}  // namespace

Snapshot take_snapshot(const std::filesystem::path& final_dir, const State& state, const Ranks& ranks, const Progress& progress,
                       const Setup& setup, const text::Tokenizer* tokenizer, const KeptState& kept) {
  Snapshot out{final_dir, progress, config::to_toml(setup.configuration), {}, {}, {}};
  if (tokenizer != nullptr) out.tokenizer = tokenizer->files();
  for_each_tensor(state, [&](const Group& g, size_t p) {
    const State::Part part = written_part(state, ranks, g.role, p);
    out.tensors.push_back({g.name, state.parameters()[p].name, static_cast<nemo_dtype>(state.dtype(g.role)),
                           shape_of(state.parameters()[p]), boxes_of(state, p, part.first, part.count), part.address,
                           static_cast<size_t>(part.count * size_of(state.dtype(g.role))), nullptr, false});
  });
  for_each_kept(kept, [&](const std::string& name, const passes::StateLayout::Entry& entry) {
    const std::vector<int64_t> shape{elements_of(entry)};
    out.tensors.push_back({kKept, kept_names(name, kept)[0], static_cast<nemo_dtype>(entry.dtype), shape,
                           checkpoint::boxes_of(shape, 0, shape[0]), kept.data + entry.offset, static_cast<size_t>(entry.bytes), nullptr,
                           true});
  });
  for (const plugin::Component* c : setup.components()) out.plugins.push_back({std::string(plugin::kind_name(c->kind)), c->id, c->version});
  return out;
}

void write(const Snapshot& snapshot, Device& device, const Ranks& ranks, dist::StoreClient* store) {
  uint64_t bytes = 0;
  for (const Snapshot::Tensor& t : snapshot.tensors) bytes += t.bytes;
  const bool several = ranks.world() != nullptr;
  checkpoint::Writer writer(snapshot.final_dir, bytes, several ? team_of(ranks, *store, snapshot.progress.step) : checkpoint::Team{});
  std::vector<std::byte> host;
  for (const Snapshot::Tensor& t : snapshot.tensors) {
    if (t.host == nullptr && t.bytes > 0) {
      host.resize(t.bytes);
      device.copy_out(host.data(), t.device, static_cast<int64_t>(t.bytes));
    }
    const checkpoint::TensorView whole{t.name, t.dtype, t.shape, t.host == nullptr ? host.data() : t.host};
    if (several)
      writer.write_part(t.group, whole, t.boxes);
    else
      writer.write(t.group, whole);
  }
  writer.attribute("step", snapshot.progress.step);
  writer.attribute("consumed_samples", snapshot.progress.consumed_samples);
  writer.attribute("seed", snapshot.progress.seed);
  if (snapshot.progress.loss_scale) write_loss_scale(writer, *snapshot.progress.loss_scale);
  writer.add_text_file(checkpoint::kRecipeFile, snapshot.recipe);
  for (const text::TokenizerFile& file : snapshot.tokenizer) writer.add_text_file("tokenizer/" + file.name, file.bytes);
  writer.commit({snapshot.progress.step, snapshot.progress.metrics, snapshot.plugins});
}

Progress restore(const checkpoint::Reader& reader, State& state, Device& device, Restore what, const KeptState& kept) {
  std::vector<std::string> names = state.elsewhere();
  for (const graph::Parameter& p : state.parameters()) names.push_back(p.name);
  const std::string mismatch = checkpoint::name_mismatch(names, reader.names(checkpoint::kParameters), reader.directory().string());
  if (!mismatch.empty()) throw Error(Code::kConfig, mismatch);
  // An imported checkpoint has parameters alone: its moments are zero, as the state is already, and masters are the parameters.
  const bool imported = reader.attribute_int("step") == 0 && reader.names(checkpoint::kExpAvg).empty();
  std::vector<std::byte> host;
  for_each_tensor(state, [&](const Group& g, size_t p) {
    if (what == Restore::kParameters && g.role != Role::kParameter) return;
    if (imported && g.role != Role::kParameter && g.role != Role::kMaster) return;
    const State::Part part = state.part(g.role, p);
    host.resize(static_cast<size_t>(part.count * size_of(state.dtype(g.role))));
    reader.read_part(
        imported ? checkpoint::kParameters : g.name,
        {state.parameters()[p].name, static_cast<nemo_dtype>(state.dtype(g.role)), shape_of(state.parameters()[p]), host.data()},
        boxes_of(state, p, part.first, part.count));
    if (part.count > 0) device.copy_in(part.address, host.data(), static_cast<int64_t>(host.size()));
  });
  if (what == Restore::kEverything) read_kept(reader, kept, device);
  return {reader.attribute_int("step"), reader.attribute_int("consumed_samples"), reader.attribute_int("seed"), reader.facts().metrics,
          read_loss_scale(reader)};
}

std::filesystem::path find_checkpoint(const std::filesystem::path& given) {
  if (std::filesystem::exists(given / checkpoint::kManifestFile)) return undamaged(given);
  for (const std::filesystem::path& folder : {given / "checkpoints", given}) {
    const auto entry = checkpoint::Store(folder).latest_good();
    if (entry) return entry->path;
  }
  throw Error(Code::kNotFound, "no checkpoint in '" + given.string() + "': expected a checkpoint folder (with " +
                                   checkpoint::kManifestFile + ") or a run's folder (with checkpoints/)");
}

}  // namespace nemo::runtime
