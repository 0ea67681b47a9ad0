//! The table of grammars: which node kinds of each language are definitions, imports, comments, or only wrap others.
//!
//! Kinds not listed are looked into when they stand on several lines. Names are those of the grammars' `node-types.json`.

use super::Language;
use super::grammar::Place::{Local, Member};
use super::grammar::Rule::{self, Define, Enter, Group, Import, Lead, Leaf};
use super::mask::{self, Mask};
use super::read::{beam, c, dotnet, functional, go, jvm, name, php, python, ruby, rust, script, shell, swift, systems};

/// One language's rules. Where kinds are listed twice the first counts.
pub(super) struct Table {
    pub(super) grammar: tree_sitter::Language,
    pub(super) rules: &'static [(&'static str, Rule)],
    pub(super) bodies: &'static str,
    pub(super) mask: Option<Mask>,
    pub(super) joins_clauses: bool,
    pub(super) import_calls: &'static [&'static str],
}

impl Table {
    fn new(grammar: impl Into<tree_sitter::Language>, rules: Rules) -> Self {
        Self { grammar: grammar.into(), rules, bodies: "", mask: None, joins_clauses: false, import_calls: &[] }
    }
}

/// The rules of a language with a grammar.
pub(super) fn of(language: Language) -> Option<Table> {
    Some(match language {
        Language::RUST => Table { mask: Some(mask::item_macros), ..Table::new(tree_sitter_rust::LANGUAGE, RUST) },
        Language::PYTHON => Table::new(tree_sitter_python::LANGUAGE, PYTHON),
        Language::JAVASCRIPT => {
            Table { import_calls: SCRIPT_CALLS, ..Table::new(tree_sitter_javascript::LANGUAGE, SCRIPT) }
        }
        Language::TYPESCRIPT => Table {
            import_calls: SCRIPT_CALLS,
            joins_clauses: true,
            ..Table::new(tree_sitter_typescript::LANGUAGE_TYPESCRIPT, SCRIPT)
        },
        Language::TSX => Table {
            import_calls: SCRIPT_CALLS,
            joins_clauses: true,
            ..Table::new(tree_sitter_typescript::LANGUAGE_TSX, SCRIPT)
        },
        Language::GO => Table::new(tree_sitter_go::LANGUAGE, GO),
        Language::C => Table { mask: Some(mask::macros), ..Table::new(tree_sitter_c::LANGUAGE, C) },
        Language::CPP => Table { mask: Some(mask::macros), ..Table::new(tree_sitter_cpp::LANGUAGE, C) },
        Language::JAVA => Table::new(tree_sitter_java::LANGUAGE, JAVA),
        Language::CSHARP => Table::new(tree_sitter_c_sharp::LANGUAGE, CSHARP),
        Language::RUBY => Table::new(tree_sitter_ruby::LANGUAGE, RUBY),
        Language::PHP => Table::new(tree_sitter_php::LANGUAGE_PHP, PHP),
        Language::BASH => Table::new(tree_sitter_bash::LANGUAGE, BASH),
        Language::KOTLIN => Table {
            bodies: "class_body enum_class_body function_body",
            ..Table::new(tree_sitter_kotlin_ng::LANGUAGE, KOTLIN)
        },
        Language::SWIFT => Table::new(tree_sitter_swift::LANGUAGE, SWIFT),
        Language::SCALA => Table::new(tree_sitter_scala::LANGUAGE, SCALA),
        Language::HASKELL => Table {
            bodies: "match class_declarations instance_declarations data_constructors gadt_constructors",
            joins_clauses: true,
            ..Table::new(tree_sitter_haskell::LANGUAGE, HASKELL)
        },
        Language::LUA => Table { import_calls: &["require"], ..Table::new(tree_sitter_lua::LANGUAGE, LUA) },
        Language::ELIXIR => {
            Table { bodies: "do_block", joins_clauses: true, ..Table::new(tree_sitter_elixir::LANGUAGE, ELIXIR) }
        }
        Language::ZIG => Table { import_calls: &["@import"], ..Table::new(tree_sitter_zig::LANGUAGE, ZIG) },
        _ => return None,
    })
}

type Rules = &'static [(&'static str, Rule)];

const SCRIPT_CALLS: &[&str] = &["require", "import"];

const RUST: Rules = &[
    ("line_comment block_comment attribute_item inner_attribute_item", Lead),
    ("declaration_list enum_variant_list foreign_mod_item", Group),
    ("string_literal raw_string_literal token_tree", Leaf),
    ("use_declaration extern_crate_declaration", Import(rust::import)),
    ("function_item function_signature_item", Define(name::function)),
    ("struct_item enum_item union_item type_item", Define(name::type_)),
    ("associated_type", Define(name::type_)),
    ("trait_item", Define(name::interface)),
    ("mod_item", Define(rust::module)),
    ("impl_item", Define(rust::implementation)),
    ("const_item static_item", Define(name::constant)),
    ("macro_definition", Define(name::macro_)),
    ("enum_variant", Define(name::field)),
    ("closure_expression", Enter(Local)),
];

const PYTHON: Rules = &[
    ("comment decorator", Lead),
    ("decorated_definition block", Group),
    ("string", Leaf),
    ("import_statement import_from_statement future_import_statement", Import(python::import)),
    ("function_definition", Define(name::function)),
    ("class_definition", Define(name::type_)),
    ("type_alias_statement", Define(python::alias)),
    ("expression_statement", Define(python::assignment)),
    ("lambda", Enter(Local)),
];

const SCRIPT: Rules = &[
    ("comment decorator hash_bang_line", Lead),
    ("class_body interface_body ambient_declaration statement_block object_type", Group),
    ("import_statement", Import(script::import)),
    ("export_statement", Define(script::export)),
    ("function_declaration generator_function_declaration function_signature", Define(name::function)),
    ("class_declaration abstract_class_declaration type_alias_declaration", Define(name::type_)),
    ("enum_declaration", Define(script::enumeration)),
    ("interface_declaration", Define(name::interface)),
    ("internal_module module", Define(script::namespace)),
    ("method_definition method_signature abstract_method_signature", Define(name::method)),
    ("field_definition public_field_definition", Define(script::field)),
    ("lexical_declaration variable_declaration", Define(script::variable)),
    ("expression_statement", Define(script::expression)),
    ("pair", Define(script::pair)),
    ("arrow_function function_expression generator_function", Enter(Local)),
    ("class", Enter(Member)),
];

const GO: Rules = &[
    ("comment", Lead),
    ("type_declaration const_declaration var_declaration var_spec_list interface_type", Group),
    ("import_declaration", Import(go::import)),
    ("function_declaration", Define(name::function)),
    ("method_declaration", Define(go::method)),
    ("method_elem method_spec", Define(name::method)),
    ("type_spec type_alias", Define(go::type_)),
    ("const_spec var_spec", Define(go::values)),
    ("func_literal", Enter(Local)),
];

const C: Rules = &[
    ("comment attribute_declaration template_parameter_list requires_clause", Lead),
    ("declaration_list enumerator_list field_declaration_list template_declaration linkage_specification", Group),
    ("raw_string_literal", Leaf),
    ("preproc_include", Import(c::include)),
    ("preproc_def", Define(c::macro_value)),
    ("preproc_function_def", Define(name::macro_)),
    ("function_definition", Define(c::function)),
    ("declaration", Define(c::declaration)),
    ("field_declaration", Define(c::field)),
    ("type_definition", Define(c::type_definition)),
    ("struct_specifier union_specifier enum_specifier class_specifier", Define(c::type_with_body)),
    ("enumerator", Define(name::constant_part)),
    ("namespace_definition", Define(c::namespace)),
    ("alias_declaration", Define(name::type_)),
    ("concept_definition", Define(name::interface)),
    ("expression_statement", Define(c::macro_call)),
    ("lambda_expression", Enter(Local)),
];

const JAVA: Rules = &[
    ("line_comment block_comment annotation marker_annotation", Lead),
    ("class_body interface_body enum_body enum_body_declarations annotation_type_body", Group),
    ("import_declaration", Import(jvm::java_import)),
    ("class_declaration enum_declaration record_declaration", Define(name::type_)),
    ("interface_declaration annotation_type_declaration", Define(name::interface)),
    ("method_declaration constructor_declaration compact_constructor_declaration", Define(name::method)),
    ("annotation_type_element_declaration", Define(name::method)),
    ("field_declaration constant_declaration", Define(jvm::java_field)),
    ("enum_constant", Define(name::field)),
    ("lambda_expression", Enter(Local)),
];

const CSHARP: Rules = &[
    ("comment attribute_list", Lead),
    ("declaration_list enum_member_declaration_list global_statement", Group),
    ("using_directive", Import(dotnet::import)),
    ("namespace_declaration file_scoped_namespace_declaration", Define(name::scope_module)),
    (
        "class_declaration struct_declaration enum_declaration record_declaration delegate_declaration",
        Define(name::type_),
    ),
    ("interface_declaration", Define(name::interface)),
    ("method_declaration constructor_declaration", Define(name::method)),
    ("destructor_declaration", Define(dotnet::destructor)),
    ("operator_declaration conversion_operator_declaration indexer_declaration", Define(dotnet::operator)),
    ("local_function_statement", Define(name::function)),
    ("property_declaration event_declaration", Define(name::field)),
    ("field_declaration event_field_declaration", Define(dotnet::field)),
    ("enum_member_declaration", Define(name::field)),
    ("lambda_expression anonymous_method_expression", Enter(Local)),
];

const RUBY: Rules = &[
    ("comment", Lead),
    ("body_statement singleton_class block_body", Group),
    ("heredoc_body string", Leaf),
    ("method singleton_method", Define(ruby::method)),
    ("class", Define(ruby::class)),
    ("module", Define(ruby::module)),
    ("assignment", Define(ruby::assignment)),
    ("call", Define(ruby::call)),
    ("alias", Define(name::method)),
    ("lambda", Enter(Local)),
];

const PHP: Rules = &[
    ("comment attribute_list", Lead),
    ("declaration_list enum_declaration_list", Group),
    ("text heredoc nowdoc", Leaf),
    ("namespace_use_declaration", Import(php::import)),
    ("namespace_definition", Define(php::namespace)),
    ("class_declaration trait_declaration enum_declaration", Define(name::type_)),
    ("interface_declaration", Define(name::interface)),
    ("function_definition", Define(name::function)),
    ("method_declaration", Define(name::method)),
    ("const_declaration", Define(php::constants)),
    ("property_declaration", Define(php::properties)),
    ("enum_case", Define(name::field)),
    ("expression_statement", Define(php::statement)),
    ("anonymous_function arrow_function", Enter(Local)),
];

const BASH: Rules = &[
    ("comment", Lead),
    ("heredoc_body string raw_string", Leaf),
    ("function_definition", Define(name::function)),
    ("variable_assignment declaration_command", Define(shell::assignment)),
    ("command", Define(shell::command)),
];

const KOTLIN: Rules = &[
    ("line_comment block_comment multiline_comment annotation file_annotation", Lead),
    ("class_body enum_class_body companion_object", Group),
    ("import import_header", Import(jvm::kotlin_import)),
    ("class_declaration", Define(jvm::kotlin_class)),
    ("object_declaration", Define(name::type_)),
    ("function_declaration", Define(name::function)),
    ("property_declaration", Define(jvm::kotlin_property)),
    ("secondary_constructor", Define(jvm::kotlin_constructor)),
    ("type_alias", Define(jvm::kotlin_alias)),
    ("enum_entry", Define(jvm::kotlin_entry)),
    ("lambda_literal anonymous_function", Enter(Local)),
    ("object_literal", Enter(Member)),
];

const SWIFT: Rules = &[
    ("comment multiline_comment attribute", Lead),
    ("class_body enum_class_body protocol_body", Group),
    ("import_declaration", Import(swift::import)),
    ("class_declaration", Define(swift::class)),
    ("protocol_declaration", Define(name::interface)),
    ("function_declaration protocol_function_declaration", Define(swift::function)),
    ("init_declaration deinit_declaration subscript_declaration", Define(swift::special)),
    ("property_declaration protocol_property_declaration", Define(swift::property)),
    ("typealias_declaration associatedtype_declaration", Define(name::type_)),
    ("enum_entry", Define(swift::entries)),
    ("lambda_literal", Enter(Local)),
];

const SCALA: Rules = &[
    ("comment block_comment annotation", Lead),
    ("template_body enum_body with_template_body enum_case_definitions extension_definition", Group),
    ("import_declaration", Import(jvm::scala_import)),
    ("package_clause", Define(jvm::scala_package)),
    ("class_definition object_definition enum_definition type_definition package_object", Define(name::type_)),
    ("trait_definition", Define(name::interface)),
    ("function_definition function_declaration", Define(name::function)),
    ("val_definition var_definition val_declaration var_declaration", Define(jvm::scala_value)),
    ("given_definition", Define(name::constant)),
    ("simple_enum_case full_enum_case", Define(name::field)),
    ("lambda_expression", Enter(Local)),
];

const HASKELL: Rules = &[
    ("comment haddock pragma", Lead),
    ("declarations imports class_declarations instance_declarations data_constructors gadt_constructors", Group),
    ("local_binds", Enter(Local)),
    ("import", Import(functional::haskell_import)),
    ("function bind signature", Define(functional::haskell_function)),
    ("foreign_import foreign_export", Define(functional::haskell_foreign)),
    ("data_type newtype type_synonym type_family data_family", Define(name::type_)),
    ("class", Define(name::interface)),
    ("instance", Define(functional::haskell_instance)),
    ("data_constructor gadt_constructor newtype_constructor", Define(functional::haskell_constructor)),
    ("pattern_synonym", Define(functional::haskell_pattern)),
    ("lambda", Enter(Local)),
];

const LUA: Rules = &[
    ("comment hash_bang_line", Lead),
    ("function_declaration", Define(functional::lua_function)),
    ("assignment_statement variable_declaration", Define(functional::lua_assignment)),
    ("field", Define(functional::lua_field)),
    ("function_definition", Enter(Local)),
];

const ELIXIR: Rules = &[
    ("comment", Lead),
    ("do_block", Group),
    ("string charlist", Leaf),
    ("call", Define(beam::call)),
    ("unary_operator", Define(beam::attribute)),
    ("anonymous_function", Enter(Local)),
];

const ZIG: Rules = &[
    ("comment line_comment doc_comment", Lead),
    ("struct_declaration enum_declaration union_declaration opaque_declaration", Enter(Member)),
    ("function_declaration", Define(name::function)),
    ("variable_declaration", Define(systems::zig_variable)),
    ("test_declaration", Define(systems::zig_test)),
    ("container_field", Define(systems::zig_field)),
];
