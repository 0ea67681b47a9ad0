//! The table of languages: what each is called and how its files are named.
//!
//! A language's number is its place in the table and is stored in indexes: add at the end, never move or remove.

use super::Language;

/// One language. Lists are words separated by spaces.
pub(super) struct Entry {
    pub(super) name: &'static str,
    /// Other spellings of the name.
    pub(super) aliases: &'static str,
    /// Extensions in lower case, without the dot.
    pub(super) extensions: &'static str,
    /// Whole file names, exact or in lower case.
    pub(super) files: &'static str,
    /// Programs after `#!`, without a version.
    pub(super) interpreters: &'static str,
}

macro_rules! languages {
    ($($constant:ident $name:literal [$aliases:literal] [$extensions:literal] [$files:literal] [$interpreters:literal])*) => {
        pub(super) const LANGUAGES: &[Entry] = &[$(Entry {
            name: $name,
            aliases: $aliases,
            extensions: $extensions,
            files: $files,
            interpreters: $interpreters,
        }),*];

        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Number { $($constant),* }

        #[allow(missing_docs)]
        impl Language {
            $(pub const $constant: Language = Language(Number::$constant as u8);)*
        }
    };
}

languages! {
    TEXT "text" ["plain plaintext txt"] ["txt text log"] ["license licence copying notice authors contributors readme changelog news todo install version"] [""]
    RUST "rust" ["rs"] ["rs"] [""] ["rust-script"]
    PYTHON "python" ["py"] ["py pyi pyw pyx pxd wsgi bzl bazel star"] ["SConstruct SConscript BUILD WORKSPACE BUCK Tiltfile wscript"] ["python pypy"]
    JAVASCRIPT "javascript" ["js jsx ecmascript node"] ["js mjs cjs jsx es6"] ["Jakefile"] ["node nodejs bun"]
    TYPESCRIPT "typescript" ["ts"] ["ts mts cts"] [""] ["deno ts-node tsx"]
    TSX "tsx" [""] ["tsx"] [""] [""]
    GO "go" ["golang"] ["go"] [""] [""]
    C "c" [""] ["c h idc cats"] [""] ["tcc"]
    CPP "cpp" ["c++ cxx cc"] ["cpp cc cxx c++ hpp hh hxx h++ ipp tpp txx inl ixx cppm ino cu cuh"] [""] [""]
    JAVA "java" [""] ["java"] [""] [""]
    CSHARP "csharp" ["c# cs"] ["cs csx cake"] [""] [""]
    RUBY "ruby" ["rb"] ["rb rbi rake gemspec podspec ru jbuilder builder thor"] ["Rakefile Gemfile Guardfile Podfile Vagrantfile Capfile Brewfile Fastfile Appraisals Dangerfile Berksfile .irbrc .pryrc"] ["ruby jruby rake"]
    PHP "php" [""] ["php php3 php4 php5 phtml phps"] [""] ["php"]
    BASH "bash" ["sh shell zsh ksh"] ["sh bash zsh ksh bats ebuild eclass"] [".bashrc .bash_profile .bash_aliases .profile .zshrc .zshenv .zprofile PKGBUILD APKBUILD gradlew .envrc"] ["sh bash zsh ksh dash ash bats"]
    KOTLIN "kotlin" ["kt"] ["kt kts"] [""] ["kotlin"]
    SWIFT "swift" [""] ["swift"] [""] ["swift"]
    SCALA "scala" [""] ["scala sc sbt mill"] [""] ["scala amm"]
    HASKELL "haskell" ["hs"] ["hs hs-boot hsc"] [""] ["runhaskell runghc stack"]
    LUA "lua" [""] ["lua luau rockspec"] [".luacheckrc"] ["lua luajit"]
    ELIXIR "elixir" ["ex"] ["ex exs"] ["mix.lock"] ["elixir"]
    ZIG "zig" [""] ["zig zon"] [""] [""]
    MARKDOWN "markdown" ["md"] ["md markdown mdx mdown mkd qmd rmd livemd"] [""] [""]
    YAML "yaml" ["yml"] ["yaml yml"] [".clang-format .clang-tidy .clangd"] [""]
    TOML "toml" [""] ["toml"] ["Cargo.lock Pipfile poetry.lock"] [""]
    JSON "json" ["json5 jsonc jsonl"] ["json json5 jsonc jsonl ndjson geojson webmanifest ipynb avsc map topojson har"] [".babelrc .eslintrc .prettierrc .jshintrc composer.lock .swcrc"] [""]
    HTML "html" ["htm xhtml"] ["html htm xhtml hbs handlebars mustache ejs erb haml jsp njk liquid twig heex eex leex cshtml razor"] [""] [""]
    CSS "css" [""] ["css"] [""] [""]
    SCSS "scss" ["sass less stylus"] ["scss sass less styl"] [""] [""]
    SQL "sql" [""] ["sql ddl dml pgsql plsql mysql psql pks pkb"] [""] [""]
    DOCKERFILE "dockerfile" ["docker"] ["dockerfile containerfile"] ["dockerfile containerfile"] [""]
    MAKE "make" ["makefile"] ["mk mak make am"] ["makefile GNUmakefile gnumakefile Kbuild BSDmakefile"] ["make"]
    CMAKE "cmake" [""] ["cmake"] ["CMakeLists.txt cmakelists.txt"] [""]
    PROTOBUF "protobuf" ["proto"] ["proto"] [""] [""]
    PERL "perl" ["pl"] ["pl pm t pod psgi"] ["cpanfile"] ["perl"]
    R "r" [""] ["r rprofile"] [".Rprofile"] ["rscript Rscript"]
    XML "xml" [""] ["xml xsd xsl xslt svg csproj fsproj vbproj vcxproj props targets plist xaml axaml resx nuspec pom wsdl rss atom storyboard xib iml ui qrc ts_translation dtd"] [".classpath .project"] [""]
    INI "ini" ["cfg conf properties dotenv"] ["ini cfg conf cnf properties env desktop service socket timer editorconfig reg inf prefs"] [".editorconfig .gitconfig .npmrc .pylintrc .flake8 .env .gitmodules .coveragerc Kconfig"] [""]
    VUE "vue" [""] ["vue"] [""] [""]
    SVELTE "svelte" [""] ["svelte"] [""] [""]
    ASTRO "astro" [""] ["astro"] [""] [""]
    GRAPHQL "graphql" ["gql"] ["graphql gql graphqls"] [""] [""]
    HCL "hcl" ["terraform tf"] ["hcl tf tfvars nomad"] [""] [""]
    NIX "nix" [""] ["nix"] [""] [""]
    OBJECTIVE_C "objective-c" ["objc objectivec"] ["mm"] [""] [""]
    MATLAB "matlab" ["octave"] ["mlx"] [""] ["octave"]
    DART "dart" [""] ["dart"] [""] ["dart"]
    ERLANG "erlang" ["erl"] ["erl hrl escript"] ["rebar.config"] ["escript"]
    CLOJURE "clojure" ["clj"] ["clj cljs cljc edn bb"] [""] ["bb clojure"]
    FSHARP "fsharp" ["f#"] ["fs fsi fsx"] [""] [""]
    OCAML "ocaml" ["ml reason"] ["ml mli mll mly re rei"] [""] ["ocaml"]
    JULIA "julia" ["jl"] ["jl"] [""] ["julia"]
    GROOVY "groovy" ["gradle"] ["groovy gradle gvy"] ["jenkinsfile"] ["groovy"]
    POWERSHELL "powershell" ["ps1 pwsh"] ["ps1 psm1 psd1"] [""] ["pwsh"]
    BATCH "batch" ["bat cmd"] ["bat cmd"] [""] [""]
    FISH "fish" [""] ["fish"] [""] ["fish"]
    ASSEMBLY "assembly" ["asm"] ["s asm nasm"] [""] [""]
    VERILOG "verilog" ["systemverilog"] ["v vh sv svh"] [""] [""]
    VHDL "vhdl" [""] ["vhd vhdl"] [""] [""]
    GLSL "glsl" ["hlsl wgsl metal shader"] ["glsl vert frag geom comp tesc tese hlsl wgsl metal shader"] [""] [""]
    FORTRAN "fortran" [""] ["f f77 f90 f95 f03 f08 for ftn"] [""] [""]
    PASCAL "pascal" ["delphi"] ["pas pp lpr dpr dpk"] [""] [""]
    LISP "lisp" ["elisp scheme racket"] ["lisp lsp cl el scm ss rkt asd"] [""] ["sbcl guile racket"]
    VIM "vim" ["viml vimscript"] ["vim vimrc"] [".vimrc"] [""]
    LATEX "latex" ["tex"] ["tex sty bib ltx"] [""] [""]
    RESTRUCTUREDTEXT "restructuredtext" ["rst"] ["rst rest"] [""] [""]
    ASCIIDOC "asciidoc" ["adoc"] ["adoc asciidoc asc"] [""] [""]
    ORG "org" [""] ["org"] [""] [""]
    SOLIDITY "solidity" ["sol"] ["sol"] [""] [""]
    COQ "coq" [""] [""] [""] [""]
    PROLOG "prolog" [""] ["plt"] [""] ["swipl"]
    CRYSTAL "crystal" [""] ["cr"] [""] ["crystal"]
    NIM "nim" [""] ["nim nims nimble"] [""] ["nim"]
    D "d" [""] ["d di"] [""] ["rdmd dmd"]
    TCL "tcl" [""] ["tcl tk"] [""] ["tclsh wish"]
    AWK "awk" [""] ["awk gawk"] [""] ["awk gawk mawk"]
    STARLARK "starlark" [""] ["starlark"] [""] [""]
    CSV "csv" ["tsv"] ["csv tsv psv"] [""] [""]
    DIFF "diff" ["patch"] ["diff patch"] [""] [""]
    THRIFT "thrift" [""] ["thrift capnp fbs"] [""] [""]
    GDSCRIPT "gdscript" [""] ["gd"] [""] [""]
    VB "vb" ["visualbasic vbnet basic"] ["vb vbs bas frm"] [""] [""]
    ELM "elm" ["purescript"] ["elm purs"] [""] [""]
    PUPPET "puppet" [""] ["epp"] [""] [""]
    COBOL "cobol" [""] ["cob cbl cpy"] [""] [""]
    ADA "ada" [""] ["adb ads ada"] [""] [""]
    APEX "apex" [""] ["trigger"] [""] [""]
    WEBASSEMBLY "webassembly" ["wat wasm"] ["wat wast"] [""] [""]
    IGNORE "ignore" [""] ["gitignore dockerignore npmignore"] [".gitignore .dockerignore .npmignore .eslintignore .prettierignore .gitattributes CODEOWNERS .conexusignore .helmignore"] [""]
}
