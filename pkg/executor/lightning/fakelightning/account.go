package fakelightning

import "net/http"

// account answers what is asked about people, teamspaces and machines.
func (s *Server) account(r call) (any, error) {
	o := s.options
	query := r.URL.Query()
	org := map[string]any{"id": orgID, "name": o.Organization, "displayName": "The " + o.Organization}
	switch r.URL.Path {
	case "/v1/auth/whoami":
		who := map[string]any{"authType": "AUTH_TYPE_USER", "userId": o.UserID, "username": o.Username}
		if o.Scoped {
			who["authType"], who["projectId"], who["apiKeyId"] = "AUTH_TYPE_SCOPED_API_KEY", projectID, "key-1"
		}
		return who, nil
	case "/v1/auth/user":
		return map[string]any{"id": o.UserID, "username": o.Username, "apiKey": o.APIKey}, nil
	case "/v1/orgs":
		return map[string]any{"organizations": []any{org}}, nil
	case "/v1/orgs/":
		if query.Get("name") == o.Organization {
			return org, nil
		}
		return nil, fail(http.StatusNotFound, "organization not found")
	case "/v1/orgs/" + orgID:
		return org, nil
	case "/v1/users/search":
		// The search is fuzzy: it has whoever begins alike, too.
		return map[string]any{"users": []any{
			map[string]any{"id": "user-like", "username": query.Get("query") + "2"},
			map[string]any{"id": o.UserID, "username": o.Username},
		}}, nil
	case "/v1/memberships":
		if id := query.Get("organizationId"); id != "" && id != orgID {
			return map[string]any{"memberships": []any{}}, nil
		}
		row := map[string]any{
			"projectId": projectID, "name": o.Teamspace, "displayName": "Space " + o.Teamspace,
			"ownerId": orgID, "ownerType": "organization",
		}
		rows := []any{row}
		if o.Duplicate {
			rows = append(rows, row)
		}
		return map[string]any{"memberships": rows}, nil
	case "/v1/projects/" + projectID:
		return map[string]any{
			"id": projectID, "name": o.Teamspace, "ownerId": orgID,
			"layoutConfig": []any{map[string]any{"slug": "jobs", "isEnabled": !o.JobsDisabled}},
		}, nil
	case "/v1/core/accelerators", "/v1/projects/" + projectID + "/clusters/metal/accelerators":
		return map[string]any{"accelerator": catalog()}, nil
	}
	return nil, fail(http.StatusNotFound, "not found: %s", r.URL.Path)
}

// restricted is a machine that the catalog has and the account may not use.
const restricted = "lit-l4-1"

func catalog() []any {
	machine := func(slug, family, gpu string, cost float64) any {
		return map[string]any{
			"slug": slug, "family": family, "resources": map[string]any{"gpu": gpu, "cpu": 4},
			"enabled": true, "cost": cost, "isTierRestricted": slug == restricted,
		}
	}
	return []any{
		machine("cpu-4", "CPU", "0", 0.1), machine("lit-t4-1", "T4", "1", 0.4),
		machine(restricted, "L4", "1", 0.6), machine("lit-h200-141gb-1", "H200", "1", 4),
	}
}
