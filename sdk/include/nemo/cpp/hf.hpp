// nemo/cpp/hf.hpp - a model plugin's map of Hugging Face tensors, and the function table with it.
//
//   void hf_map(HfMap& m, const Config& c) {
//     m.tensor("model.norm.weight").to("final_norm.weight");                                              // same shape
//     m.tensor("model.layers.*.self_attn.q_proj.weight", {heads * head, hidden}).to("layers.*.attention.q.weight");  // reshaped
//     m.tensor("h.*.attn.c_attn.weight", {hidden, 3 * hidden}).transpose().rows(0, hidden).to("layers.*.attention.q.weight");
//     m.tensor("model.layers.*.mlp.experts.*.w1.weight").stack().to("layers.*.mlp.gate.weight");          // one file tensor per expert
//     m.alias("lm_head.weight", "model.embed_tokens.weight");
//     m.ignore("model.layers.*.self_attn.rotary_emb.inv_freq");
//   }
//   const nemo_hf_architecture kinds[] = {hf_kind("LlamaForCausalLM", "llama")};
//   const nemo_model_api api = hf_model_api<build, hf_config, hf_map>(kinds, variants);
#pragma once

#include "nemo/cpp/hf_config.hpp"
#include "nemo/cpp/model.hpp"

namespace nemo::sdk {
inline namespace v1 {

class HfMap {
 public:
  HfMap(const nemo_hf_map_api* api, nemo_hf_map* map) : api_(api), map_(map) {}
  using Shape = std::vector<int64_t>;

  // One tensor of the file on the way to one parameter; `to` ends it. See nemo_hf_rule for the order in which the words apply.
  class Tensor {
   public:
    // Row-major reshape of the stored tensor, before it is cut.
    Tensor view(Shape v) && {
      view_ = std::move(v);
      return std::move(*this);
    }
    // The members [start, start + length) of a dimension of the view.
    Tensor part(size_t dim, int64_t start, int64_t length) && {
      const Shape& whole = view_.empty() ? shape_ : view_;
      if (start_.empty()) start_.assign(whole.size(), 0), length_ = whole;
      start_.at(dim) = start, length_.at(dim) = length;
      return std::move(*this);
    }
    Tensor rows(int64_t start, int64_t length) && { return std::move(*this).part(order_.empty() ? 0 : size_t(order_[0]), start, length); }
    Tensor permute(Shape order) && {
      order_ = std::move(order);
      return std::move(*this);
    }
    // Of a matrix; `rows` after it means rows of the transposed matrix.
    Tensor transpose() && { return std::move(*this).permute({1, 0}); }
    // Fills only [start, start + length) of dimension `dim` of the parameter.
    Tensor into(int64_t dim, int64_t start, int64_t length) && {
      ours_dim_ = dim, ours_start_ = start, ours_length_ = length;
      return std::move(*this);
    }
    // The parameter has more rows than the file's `rows`: zero padding (of the vocabulary).
    Tensor padded(int64_t rows) && { return std::move(*this).flag(NEMO_HF_PADDED).into(0, 0, rows); }
    Tensor stack() && { return std::move(*this).flag(NEMO_HF_STACK); }
    Tensor optional() && { return std::move(*this).flag(NEMO_HF_OPTIONAL); }
    void to(std::string_view ours) && {
      nemo_hf_rule r{};
      r.struct_size = sizeof r, r.flags = flags_;
      r.theirs = to_str(theirs_), r.ours = to_str(ours);
      r.shape = shape_.data(), r.rank = shape_.size();
      r.view = view_.data(), r.view_rank = view_.size();
      if (!start_.empty()) r.start = start_.data(), r.length = length_.data();
      if (!order_.empty()) r.order = order_.data();
      r.ours_dim = ours_dim_, r.ours_start = ours_start_, r.ours_length = ours_length_;
      check(map_.api_->rule(map_.map_, &r));
    }

   private:
    friend class HfMap;
    Tensor(HfMap& map, std::string_view theirs, Shape shape) : map_(map), theirs_(theirs), shape_(std::move(shape)) {}
    Tensor flag(uint32_t f) && {
      flags_ |= f;
      return std::move(*this);
    }
    HfMap& map_;
    std::string theirs_;
    uint32_t flags_ = 0;
    Shape shape_, view_, start_, length_, order_;
    int64_t ours_dim_ = 0, ours_start_ = 0, ours_length_ = 0;
  };

  // `shape` as stored in the file; empty: the parameter's. part(), rows() and transpose() need it.
  Tensor tensor(std::string_view theirs, Shape shape = {}) { return {*this, theirs, std::move(shape)}; }
  void alias(std::string_view theirs, std::string_view of) { check(api_->alias(map_, to_str(theirs), to_str(of))); }
  void ignore(std::string_view theirs) { check(api_->ignore(map_, to_str(theirs))); }
  void constant(std::string_view theirs, const Shape& shape, double value) {
    check(api_->constant(map_, to_str(theirs), shape.data(), shape.size(), value));
  }
  void spelling(std::string_view prefix, std::string_view other) { check(api_->spelling(map_, to_str(prefix), to_str(other))); }

 private:
  const nemo_hf_map_api* api_;
  nemo_hf_map* map_;
};

constexpr nemo_hf_architecture hf_kind(std::string_view architecture, std::string_view model_type) {
  return {{architecture.data(), architecture.size()}, {model_type.data(), model_type.size()}};
}
constexpr nemo_variant variant(std::string_view name, std::string_view doc, std::string_view settings) {
  return {{name.data(), name.size()}, {doc.data(), doc.size()}, {settings.data(), settings.size()}};
}

namespace hf {
template <void (*Fields)(HfConfig&)>
nemo_error* import_config(nemo_host*, const nemo_json_api* api, const nemo_json* config, nemo_json* settings) {
  return guard([&] {
    HfConfig both(Json(api, const_cast<nemo_json*>(config)), Json(api, settings));
    Fields(both);
  });
}
template <void (*Fields)(HfConfig&)>
nemo_error* export_config(nemo_host*, const nemo_config* settings, const nemo_json_api* api, nemo_json* config) {
  return guard([&] {
    HfConfig both(Json(api, config), settings);
    Fields(both);
  });
}
template <void (*Map)(HfMap&, const Config&)>
nemo_error* map(nemo_host*, const nemo_config* settings, const nemo_hf_map_api* api, nemo_hf_map* out) {
  return guard([&] {
    HfMap m(api, out);
    Map(m, Config(settings));
  });
}
}  // namespace hf

// The table of a model that reads and writes Hugging Face checkpoints. Kinds and variants are static.
template <void (*Build)(Graph&, const Config&), void (*Fields)(HfConfig&), void (*Map)(HfMap&, const Config&), size_t Kinds,
          size_t Variants>
constexpr nemo_model_api hf_model_api(const nemo_hf_architecture (&kinds)[Kinds], const nemo_variant (&variants)[Variants]) {
  nemo_model_api api = model_api<Build>();
  api.hf_architectures = kinds, api.n_hf_architectures = Kinds;
  api.hf_import = hf::import_config<Fields>, api.hf_export = hf::export_config<Fields>, api.hf_map = hf::map<Map>;
  api.variants = variants, api.n_variants = Variants;
  return api;
}
// The same without variants.
template <void (*Build)(Graph&, const Config&), void (*Fields)(HfConfig&), void (*Map)(HfMap&, const Config&), size_t Kinds>
constexpr nemo_model_api hf_model_api(const nemo_hf_architecture (&kinds)[Kinds]) {
  nemo_model_api api = model_api<Build>();
  api.hf_architectures = kinds, api.n_hf_architectures = Kinds;
  api.hf_import = hf::import_config<Fields>, api.hf_export = hf::export_config<Fields>, api.hf_map = hf::map<Map>;
  return api;
}

}  // namespace v1
}  // namespace nemo::sdk
