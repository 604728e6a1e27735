-- The search vector: a generated column of each model. The display name and author/slug weigh most,
-- then task and licence, then the description. The description is in with the stems of both
-- languages of the pages, and unstemmed for words that are still being typed, also without accents.

CREATE FUNCTION catalog_search_vector(
  p_name text, p_display_name text, p_task text, p_license text, p_description text
) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT setweight(to_tsvector('simple'::regconfig, p_display_name || ' ' || translate(p_name, '/._-', '    ')), 'A')
      || setweight(to_tsvector('simple'::regconfig, p_task || ' ' || translate(p_license, '/._-', '    ')), 'B')
      || setweight(to_tsvector('english'::regconfig, p_description), 'C')
      || setweight(to_tsvector('portuguese'::regconfig, p_description), 'C')
      || setweight(to_tsvector('simple'::regconfig, p_description), 'D')
      || setweight(to_tsvector('simple'::regconfig,
           translate(lower(p_display_name || ' ' || p_description),
                     'áàâãäéèêëíìîïóòôõöúùûüçñ', 'aaaaaeeeeiiiiooooouuuucn')), 'D')
$$;

ALTER TABLE catalog_aimodel ADD COLUMN search tsvector
  GENERATED ALWAYS AS (catalog_search_vector(name, display_name, task, license, description)) STORED;
CREATE INDEX catalog_aimodel_search ON catalog_aimodel USING gin (search);

-- The similarity of a word to the nearest word of a text, 0 to 1, for typing errors. Without
-- pg_trgm, and without the right to add it, nothing is similar and the search is by whole words
-- only.
DO $$
BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_trgm;
EXCEPTION WHEN OTHERS THEN
  RAISE NOTICE 'pg_trgm: %', SQLERRM;
END
$$;
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm') THEN
    CREATE FUNCTION catalog_likeness(p_word text, p_text text) RETURNS real
    LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT word_similarity(p_word, p_text)';
  ELSE
    CREATE FUNCTION catalog_likeness(p_word text, p_text text) RETURNS real
    LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT 0::real';
  END IF;
END
$$;
